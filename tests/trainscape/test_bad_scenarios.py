"""Kinds of bad scenario, each with its whole exact message: what is wrong, where, and what would be right."""

import pytest

from trainscape.errors import ScenarioError
from trainscape.exit_codes import ExitCode, classify
from trainscape.load import load_text

GOOD = """\
name: digits
model: {name: lenet, batch: 64, input: digits}
system: {name: host, devices: 2}
parallel: {strategy: data, ranks: 2, bucket: 32 KiB}
run: {steps: 300, data: digits}
"""


def at(line: int, column: int, text: str, message: str) -> str:
    """A message as it is printed, with the line and the caret."""
    return f"s.yaml:{line}:{column}: error: {message}\n{line:6d} | {text}\n       | {' ' * (column - 1)}^"


KINDS: dict[str, tuple[str, str, ExitCode]] = {
    "unknown key": (
        GOOD.replace("batch: 64", "widht: 2"),
        at(2, 22, "model: {name: lenet, widht: 2, input: digits}", "model.widht: unknown key 'widht'; did you mean 'width'?"),
        ExitCode.INVALID_INPUT,
    ),
    "unknown section": (
        GOOD + "modle: {}\n",
        at(6, 1, "modle: {}", "modle: unknown key 'modle'; did you mean 'model'?"),
        ExitCode.INVALID_INPUT,
    ),
    "unknown model": (
        GOOD.replace("lenet", "lente"),
        at(
            2,
            15,
            "model: {name: lente, batch: 64, input: digits}",
            "model.name: unknown model 'lente'; did you mean 'lenet'? (list: trainscape model list)",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "unknown system": (
        GOOD.replace("host, devices: 2", "dgx1-v1000"),
        at(
            3,
            16,
            "system: {name: dgx1-v1000}",
            "system.name: unknown system 'dgx1-v1000'; did you mean 'dgx1-v100'? (list: trainscape hw list)",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "unit with the wrong case": (
        GOOD.replace("32 KiB", "32 KB"),
        at(
            4,
            46,
            "parallel: {strategy: data, ranks: 2, bucket: 32 KB}",
            "parallel.bucket: '32 KB': unknown unit 'KB'; did you mean 'kB' or 'kb'? (B is bytes, b is bits)",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "unit of another quantity": (
        GOOD.replace("32 KiB", "32 GB/s"),
        at(
            4,
            46,
            "parallel: {strategy: data, ranks: 2, bucket: 32 GB/s}",
            "parallel.bucket: '32 GB/s': 'GB/s' is a unit of bytes per second, but bytes is wanted; write '32 GB'",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "no unit": (
        GOOD.replace("data: digits", "timeout: 60"),
        at(5, 28, "run: {steps: 300, timeout: 60}", "run.timeout: 60 has no unit; write 60 s"),
        ExitCode.INVALID_INPUT,
    ),
    "key given twice": (
        GOOD + "name: again\n",
        at(6, 1, "name: again", "name: key 'name' is given twice (first on line 1)"),
        ExitCode.INVALID_INPUT,
    ),
    "tab": (
        GOOD.replace("system: ", "system:\n\t"),
        "s.yaml:4:1: error: not valid YAML: a tab cannot indent a line; use spaces\n"
        "     4 | \t{name: host, devices: 2}\n       | ^",
        ExitCode.INVALID_INPUT,
    ),
    "text for a number": (
        GOOD.replace("300", "'300'"),
        at(5, 14, "run: {steps: '300', data: digits}", "run.steps: must be a whole number, got '300'; remove the quotes"),
        ExitCode.INVALID_INPUT,
    ),
    "out of range": (
        GOOD.replace("batch: 64", "dropout: 1.0"),
        at(2, 31, "model: {name: lenet, dropout: 1.0, input: digits}", "model.dropout: must be below 1, got 1.0"),
        ExitCode.INVALID_INPUT,
    ),
    "missing key": (
        GOOD.replace("name: lenet, ", ""),
        at(2, 8, "model: {batch: 64, input: digits}", "model.name: missing, and there is no default"),
        ExitCode.INVALID_INPUT,
    ),
    "none of the choices": (
        GOOD.replace("batch: 64", "activation: rleu"),
        at(
            2,
            34,
            "model: {name: lenet, activation: rleu, input: digits}",
            "model.activation: must be relu or tanh, got 'rleu'; did you mean 'relu'?",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "infinity": (
        GOOD.replace("batch: 64", "width: .inf"),
        at(
            2,
            29,
            "model: {name: lenet, width: .inf, input: digits}",
            "model.width: .inf: infinity is not a value that a scenario can hold",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "empty": (
        "",
        "s.yaml:1:1: error: the file is empty; a scenario has the keys name, model, system, parallel, run",
        ExitCode.INVALID_INPUT,
    ),
    "no mapping": (
        "- lenet\n",
        at(1, 1, "- lenet", "a scenario is a mapping of keys to values, got a list"),
        ExitCode.INVALID_INPUT,
    ),
    "data of another shape": (
        GOOD.replace("input: digits", "input: mnist"),
        at(
            2,
            40,
            "model: {name: lenet, batch: 64, input: mnist}",
            "model.input: the model takes 28x28x1 images, but those of digits are 8x8x1; write input: digits",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "expectation of nothing": (
        GOOD + "expect:\n  acuracy: {at_least: 95 %, source: us}\n",
        at(
            7,
            3,
            "  acuracy: {at_least: 95 %, source: us}",
            "expect.acuracy: no result has the key 'acuracy'; did you mean 'accuracy'?",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "expectation in another unit": (
        GOOD + "expect:\n  predicted.step_s: {at_most: 1 kB, source: us}\n",
        at(
            7,
            31,
            "  predicted.step_s: {at_most: 1 kB, source: us}",
            "expect.predicted.step_s.at_most: '1 kB': 'kB' is a unit of bytes, but seconds is wanted; write '1 us'",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "expectation without source": (
        GOOD + "expect:\n  accuracy: {at_least: 0.9}\n",
        at(7, 13, "  accuracy: {at_least: 0.9}", "expect.accuracy.source: missing, and there is no default"),
        ExitCode.INVALID_INPUT,
    ),
    "name that is no folder": (
        GOOD.replace("name: digits", "name: ../digits"),
        at(
            1,
            7,
            "name: ../digits",
            "name: '../digits' names a folder: use letters, digits, '-', '_' and '.', and begin with a letter or a digit",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "net too deep for its images": (
        GOOD.replace("batch: 64", "batch: 64, depth: 4"),
        at(
            2,
            8,
            "model: {name: lenet, batch: 64, depth: 4, input: digits}",
            "model: lenet: a 8x8 image is down to 1x1 after 3 blocks, too small for a 3x3 convolution and a 2x2 pooling; "
            "depth must be <= 3",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "batch that does not divide": (
        GOOD.replace("64", "65"),
        at(
            2,
            29,
            "model: {name: lenet, batch: 65, input: digits}",
            "model.batch: a batch of 65 does not divide over 2 ranks; the nearest that does is 64",
        ),
        ExitCode.INFEASIBLE,
    ),
    "batch that does not divide over micro-batches": (
        GOOD.replace("ranks: 2", "ranks: 2, micro_batches: 3"),
        at(
            2,
            29,
            "model: {name: lenet, batch: 64, input: digits}",
            "model.batch: a batch of 64 does not divide over 2 ranks x 3 micro-batches; the nearest that does is 66",
        ),
        ExitCode.INFEASIBLE,
    ),
    "more ranks than devices": (
        GOOD.replace("ranks: 2", "ranks: 4"),
        at(
            4,
            35,
            "parallel: {strategy: data, ranks: 4, bucket: 32 KiB}",
            "parallel.ranks: 4 ranks need as many devices, but system 'host' offers 2; use at most 2",
        ),
        ExitCode.INFEASIBLE,
    ),
    "option of another strategy": (
        GOOD.replace("bucket: 32 KiB", "levels: 2"),
        at(
            4,
            46,
            "parallel: {strategy: data, ranks: 2, levels: 2}",
            "parallel.levels: levels means nothing for strategy data, which takes collective, bucket, micro_batches; "
            "remove it, or write strategy: parameter_server",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "unknown strategy": (
        GOOD.replace("strategy: data", "strategy: hybird"),
        at(
            4,
            22,
            "parallel: {strategy: hybird, ranks: 2, bucket: 32 KiB}",
            "parallel.strategy: unknown strategy 'hybird'; did you mean 'hybrid'?",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "none of a strategy's choices": (
        GOOD.replace("strategy: data", "strategy: hybrid, scheme: part"),
        at(
            4,
            38,
            "parallel: {strategy: hybrid, scheme: part, ranks: 2, bucket: 32 KiB}",
            "parallel.scheme: must be whole or turns or parts, got 'part'; did you mean 'parts'?",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "several nodes of this computer": (
        GOOD.replace("devices: 2", "nodes: 2"),
        at(
            3,
            29,
            "system: {name: host, nodes: 2}",
            "system.nodes: this computer is one node; remove it, or name a catalogue system",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "network that joins nothing": (
        GOOD.replace("host, devices: 2", "dgx1-v100, network: hdr"),
        at(
            3,
            36,
            "system: {name: dgx1-v100, network: hdr}",
            "system.network: a network joins several nodes; write nodes: 2, or remove it",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "network that is none": (
        GOOD.replace("host, devices: 2", "dgx1-v100, nodes: 2, network: hdrr"),
        at(
            3,
            46,
            "system: {name: dgx1-v100, nodes: 2, network: hdrr}",
            "system.network: unknown network 'hdrr'; did you mean 'hdr'? (list: trainscape hw list)",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "input stage of this computer": (
        GOOD.replace("data: digits", "data: {name: digits, storage: 1 GB/s}"),
        at(
            5,
            49,
            "run: {steps: 300, data: {name: digits, storage: 1 GB/s}}",
            "run.data.storage: on this computer the input stage is the real one; remove it, or name a catalogue system",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "a section with nothing in it": (
        GOOD.replace("run: {steps: 300, data: digits}", "run:\n\nseed: 1"),
        at(5, 1, "run:", "run: must be a section of keys and values, got nothing"),
        ExitCode.INVALID_INPUT,
    ),
    "more bytes than there are": (
        GOOD.replace("32 KiB", "1e30 GiB"),
        at(
            4,
            46,
            "parallel: {strategy: data, ranks: 2, bucket: 1e30 GiB}",
            "parallel.bucket: must be at most 1099511627776, got 1073741824000000000000000000000000000000",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "time without end": (
        GOOD.replace("data: digits}", "timeout: 1e400 s}"),
        at(5, 28, "run: {steps: 300, timeout: 1e400 s}", "run.timeout: must be a finite number, got inf"),
        ExitCode.INVALID_INPUT,
    ),
    "more servers than a run has": (
        GOOD.replace("strategy: data", "strategy: parameter_server, server_count: 1000000"),
        at(
            4,
            54,
            "parallel: {strategy: parameter_server, server_count: 1000000, ranks: 2, bucket: 32 KiB}",
            "parallel.server_count: must be at most 1024, got 1000000",
        ),
        ExitCode.INVALID_INPUT,
    ),
    "more devices than the system has": (
        GOOD.replace("host, devices: 2", "dgx1-v100, devices: 16"),
        at(3, 36, "system: {name: dgx1-v100, devices: 16}", "system.devices: 16 devices, but system 'dgx1-v100' has 8"),
        ExitCode.INFEASIBLE,
    ),
}


def test_the_good_one_is_good() -> None:
    assert load_text(GOOD, "s.yaml").scenario.parallel.bucket == 32768


@pytest.mark.parametrize("kind", KINDS)
def test_message_and_exit_code(kind: str) -> None:
    text, message, code = KINDS[kind]
    with pytest.raises(ScenarioError) as e:
        load_text(text, "s.yaml")
    assert str(e.value) == message
    assert classify(e.value) is code


def test_all_mistakes_of_a_file_in_its_order() -> None:
    text = GOOD + "x: .nan\n"
    for right, wrong in {"lenet": "lente", "32 KiB": "32 KB", "300": "0", "name: host": "naem: host"}.items():
        text = text.replace(right, wrong)
    with pytest.raises(ScenarioError) as e:
        load_text(text, "s.yaml")
    assert [(m.line, m.path) for m in e.value.mistakes] == [
        (2, "model.name"),
        (3, "system.naem"),
        (4, "parallel.bucket"),
        (5, "run.steps"),
        (6, "x"),
        (6, "x"),
    ]


def test_broken_rules_between_keys_are_found_together() -> None:
    text = GOOD.replace("64", "65").replace("ranks: 2", "ranks: 3").replace("input: digits", "input: mnist, classes: 4")
    with pytest.raises(ScenarioError) as e:
        load_text(text, "s.yaml")
    assert [m.path for m in e.value.mistakes] == ["model.batch", "model.input", "model.classes", "parallel.ranks"]
    assert classify(e.value) is ExitCode.INVALID_INPUT  # some of it is not only infeasible
