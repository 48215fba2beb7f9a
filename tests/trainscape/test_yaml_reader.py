"""The reader: YAML 1.2 scalars, positions, and what a hostile or broken file says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainscape.errors import ScenarioError
from trainscape.yaml_reader import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_MISTAKES, MAX_NODES, Position, read_bytes, read_text


def messages(text: str) -> list[str]:
    return [str(m) for m in read_text(text, "s.yaml").mistakes]


def first_line(text: str) -> str:
    return messages(text)[0].splitlines()[0]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-6", 1e-6),
        ("25e9", 25e9),
        ("16:9", "16:9"),
        ("no", "no"),
        ("True", "True"),
        ("true", True),
        ("017", 17),
        ("1_000", "1_000"),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+7", 7),
        ("'3'", "3"),
        ('"true"', "true"),
        ("! 3", "3"),
        ("~", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_scalars_follow_yaml_1_2(scalar: str, value: object) -> None:
    doc = read_text(f"a: {scalar}\n", "s.yaml")
    assert doc.mistakes == []
    assert doc.data == {"a": value}
    assert type(doc.data["a"]) is type(value)


@pytest.mark.parametrize(
    ("scalar", "why"),
    [
        (".inf", "infinity is not a value that a scenario can hold"),
        ("-.Inf", "infinity is not a value that a scenario can hold"),
        (".nan", "NaN is not a value that a scenario can hold"),
        ("0x1F", "write numbers in decimal"),
        ("0o17", "write numbers in decimal"),
    ],
)
def test_traps_are_refused_by_name(scalar: str, why: str) -> None:
    assert first_line(f"a: {scalar}\n") == f"s.yaml:1:4: error: a: {scalar}: {why}"


def test_positions_of_keys_and_values() -> None:
    doc = read_text("a: 1\nb:\n  c: [x, {d: 2}]\n", "s.yaml")
    assert doc.keys == {
        ("a",): Position(1, 1),
        ("b",): Position(2, 1),
        ("b", "c"): Position(3, 3),
        ("b", "c", 1, "d"): Position(3, 11),
    }
    assert doc.values[("b", "c", 0)] == Position(3, 7)
    assert doc.values[("b", "c", 1, "d")] == Position(3, 14)


def test_all_mistakes_of_a_file_at_once() -> None:
    found = messages("a: .inf\na: 2\n3: x\nb: !!int 3\n")
    assert [m.splitlines()[0] for m in found] == [
        "s.yaml:1:4: error: a: .inf: infinity is not a value that a scenario can hold",
        "s.yaml:2:1: error: a: key 'a' is given twice (first on line 1)",
        "s.yaml:3:1: error: a key must be text, got 3; write it in quotes",
        "s.yaml:4:4: error: b: tags are not used here; remove tag:yaml.org,2002:int",
    ]


def test_line_and_caret() -> None:
    assert messages("ab: 1\nab: 2\n") == [
        "s.yaml:2:1: error: ab: key 'ab' is given twice (first on line 1)\n     2 | ab: 2\n       | ^",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1\n", "s.yaml:2:1: error: not valid YAML: a tab cannot indent a line; use spaces"),
        ("a: [1, 2\n", "s.yaml:1:4: error: not valid YAML: '[' is not closed by ']' (noticed on line 1)"),
        ("a: {b: 1\nc: 2\n", "s.yaml:1:4: error: not valid YAML: '{' is not closed by '}' (noticed on line 2)"),
        ('a: "x\n', "s.yaml:1:4: error: not valid YAML: a quoted text is not closed before the end of the file"),
        ("a: 'it's'\n", "s.yaml:1:8: error: not valid YAML: more text follows a complete value; quote the whole value"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1: error: a second document begins here; one file holds one scenario"),
        ("%YAML 1.1\n---\na: 1\n", "s.yaml:1:1: error: scenario files are YAML 1.2; remove the %YAML directive"),
        ("? [1]\n: 2\n", "s.yaml:1:3: error: a key must be plain text"),
        ("a: *b\n", "s.yaml:1:4: error: a: alias '*b' has no complete anchor '&b' before it"),
        ("a: &b [*b]\n", "s.yaml:1:8: error: a.0: alias '*b' has no complete anchor '&b' before it"),
        ("", "s.yaml:1:1: error: the file is empty; a scenario has the keys name, model, system, parallel, run"),
        ("# only this\n", "s.yaml:1:1: error: the file is empty; a scenario has the keys name, model, system, parallel, run"),
    ],
)
def test_syntax_in_plain_words(text: str, line: str) -> None:
    assert first_line(text) == line


def test_second_mapping_in_a_value() -> None:
    assert "s.yaml:1:5: error: not valid YAML: a second 'key: value' begins inside a value" in first_line("a: b: c\n")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in "".join(messages("a: \x1b[31mred\nb: 1\n"))


def test_aliases_are_written_out() -> None:
    doc = read_text("a: &x {b: [1]}\nc: *x\n", "s.yaml")
    assert doc.mistakes == []
    assert doc.data == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert doc.values[("c",)] == Position(2, 4)


def test_limits() -> None:
    assert f"nested more than {MAX_DEPTH} deep" in first_line("[" * 2000)
    assert f"more than {MAX_ALIASES} aliases" in first_line("a: &x 1\nb: [" + "*x," * (MAX_ALIASES + 1) + "]\n")
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 9))
    assert f"more than {MAX_NODES} values once aliases are written out" in first_line(bomb)


def test_a_hostile_file_is_given_up_soon() -> None:
    last = messages("a: 1\n" * 150_000)[-1].splitlines()[0]
    assert last.endswith(f"more than {MAX_MISTAKES} mistakes; the rest of the file was not read")
    assert f"more than {MAX_NODES} values" in first_line("a: [" + "1," * 400_000 + "1]\n")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ScenarioError, match=r"^s.yaml:1:4: error: not UTF-8 text: byte 0xff"):
        read_bytes(b"a: \xff", "s.yaml")
    with pytest.raises(ScenarioError, match=r"a scenario has at most 1000000"):
        read_bytes(b" " * (MAX_BYTES + 1), "s.yaml")
    assert read_bytes("\ufeffa: ä\n".encode(), "s.yaml").data == {"a": "ä"}


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@# \n\t,?1.e"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `Document.mistakes` comes of any text, and every mistake can be printed."""
    doc = read_text(text, "s.yaml")
    assert doc.mistakes or doc.data is not None
    assert all(str(m).startswith("s.yaml:") for m in doc.mistakes)


SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(alphabet="abc xyz:", max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(alphabet="abcxyz", min_size=1, max_size=5)


def _around(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Lists and mappings of what is inside; a named function, since Hypothesis reads the source to see that it nests."""
    return st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)


TREES: st.SearchStrategy[object] = st.recursive(SCALARS | NUMBERS, _around, max_leaves=12)


@given(TREES)
def test_json_reads_back(value: object) -> None:
    """JSON is YAML 1.2: what `json` writes is read as it was."""
    import json

    doc = read_text(json.dumps({"v": value}), "s.yaml")
    assert doc.mistakes == []
    assert _equal(doc.data, {"v": value})


def _equal(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=0, abs_tol=0)
    return a == b
