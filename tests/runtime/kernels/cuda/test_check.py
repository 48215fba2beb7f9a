"""The check finds kernels that are wrong."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graph.record import record
from graph.tensor_type import DType
from hw.kernels.record import Call
from runtime.errors import RunError
from runtime.kernels.cuda import run
from runtime.kernels.cuda.check import Case, KernelWrong, cases, check, records, threads
from runtime.kernels.cuda.elementwise import RELU, SCALE
from runtime.kernels.cuda.kernel import Launch, Operand, Place, find

Launches = Callable[[Call, Sequence[Place]], list[Launch]]
(RELU_RECORD,) = (r for r in records() if r.name == "cuda.relu")


def relu() -> Case:
    """Of 15 elements."""
    (found,) = (c for c in cases(RELU_RECORD) if c.inputs[0].shape == (3, 5))
    return found


def short(x: Operand) -> Operand:
    return Operand(index=x.index, dtype=DType.F32, size=14)


def twice_as_long(y: Operand) -> Operand:
    return Operand(index=y.index, dtype=DType.F32, size=30)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, y: SCALE.over((x, y), 1.0), "of result 0, . of 15 elements are wrong; element . is np.float32"),
        (lambda x, y: RELU.over((y, x), 0), "changed operand 0"),
        (lambda x, y: [RELU.plain.over(15, short(x.operand), short(y.operand), 0, 14)], "element 14 is np.float32.nan., not"),
    ],
)
def test_wrong_kernels_are_found(monkeypatch: pytest.MonkeyPatch, wrong: Launches, message: str) -> None:
    @record
    class Wrong:
        launches: Launches = staticmethod(lambda call, places: wrong(*places[:2]))

    check(relu())
    monkeypatch.setattr(run, "find", lambda name: Wrong())
    with pytest.raises(KernelWrong, match=f"^cuda.relu of .*{message}"):
        check(relu())


def test_what_is_launched_fits_its_arrays() -> None:
    c = relu()
    arrays = [run.upload(np.zeros(15, np.float32)) for _ in range(3)]
    x, y = (p.operand for p in run.places_of(arrays)[:2])
    with pytest.raises(RunError, match="passes elements 0 to 30 of an array of 15"):
        run.bound(RELU.plain.over(30, x, twice_as_long(y), 0, 30), arrays)
    with pytest.raises(RunError, match=r"wants 3 places \(reads, writes, workspace\), got 2"):
        run.run_call(c.call, arrays[:2])
    with pytest.raises(RunError, match=r"kernel 'relu' takes .*float32.*, got elements i64"):
        RELU.plain.over(15, x, Operand(index=1, dtype=DType.I64, size=15), 0, 15)


def test_a_case_counts_its_threads() -> None:
    assert find("cuda.relu").launches and threads(relu()) == 256
