"""What a rank on a GPU obeys and reports while it plays: the board that it shares with its parent, and its input stage."""

import ctypes
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.parallel.plan import Rank
from runtime.cuda.device import Bytes
from runtime.data.stage import InputStage
from runtime.errors import StepFailed
from runtime.executor import Board
from runtime.native import read_word, write_word
from runtime.scheduler import CHOOSING, Outcome

_PATIENCE = 200
"""Empty looks until the core is given away for longer."""
_NAP_SECONDS = 20e-6


class Ended(Exception):
    """The rank was told to end."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.name)
        self.outcome = outcome


class Watch:
    """Looks at flags and clock while the rank waits.

    Parameters
    ----------
    rank : who.
    timeout : seconds to wait for a letter or a batch.
    shares_core : others wait for this core.
    """

    def __init__(self, rank: Rank, timeout: float, shares_core: bool) -> None:
        self._rank, self._timeout = rank, timeout
        self._patience = 1 if shares_core else _PATIENCE
        self._idle, self._since = 0, 0.0

    def may_begin(self, step: int, board: Board) -> None:
        """Raise `Ended` when the rank shall not begin a step."""
        while read_word(board.stop_at) == CHOOSING and not read_word(board.abort):
            time.sleep(0)
        if read_word(board.abort):
            raise Ended(Outcome.ABORTED)
        if read_word(board.stop_at) <= step:
            raise Ended(Outcome.STOPPED)

    def moved(self) -> None:
        """Something went on."""
        self._idle = 0

    def wait(self, board: Board, step: int, what: str) -> None:
        """Nothing could go on: give the core away, the longer the more often that was so.

        Raises
        ------
        Ended : the abort flag is up.
        StepFailed : it has been so for too long; `what` is waited for.
        """
        if read_word(board.abort):
            raise Ended(Outcome.ABORTED)
        now = time.monotonic()
        if self._idle == 0:
            self._since = now
        self._idle += 1
        if now - self._since > self._timeout:
            raise StepFailed(f"{self._rank}: step {step}: nothing could go on for {self._timeout:g} s, waiting at {what}")
        time.sleep(_NAP_SECONDS if self._idle > self._patience else 0)

    def take(self, stage: InputStage | None, into: Bytes, board: Board) -> None:
        """Copy the next batch into pinned memory, as soon as it is there. Raises `DataError` when none will come."""
        if stage is None:
            return
        self.moved()
        while (batch := stage.look()) is None:
            self.wait(board, int(read_word(board.progress)), "its batch")
        into[:] = batch[: into.size]
        stage.give_back()

    def tell(self, board: Board, step: int, row: int, now: int) -> None:
        """A step is over; `row` is its place on the board, `now` when it was, in nanoseconds."""
        view(board.ends + 8 * row, 1, np.int64)[0] = now
        write_word(board.progress, step + 1)


def view(address: int, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Numbers at an address of the host."""
    nbytes = count * np.dtype(dtype).itemsize
    found: npt.NDArray[Any] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address)).view(dtype)
    return found
