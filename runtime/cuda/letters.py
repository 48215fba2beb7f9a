"""What a rank on a GPU sends to others and hears from them: letters in the memory that all processes of a run share.

Wires and letters are those of `runtime.scheduler`, so ranks on GPUs and on cores understand each other. A letter is copied from
the GPU into pinned memory, and from there into its place on the wire; and the same way back. The host never waits for one: it
looks.
"""

import ctypes
from typing import Any

from runtime.cuda.device import Bytes, Device
from runtime.native import read_word, write_word
from runtime.scheduler import HEADER, LETTERS, READ, SENT
from runtime.table import Table


class Letters:
    """The host's side of a rank's letters.

    Parameters
    ----------
    table : which actions send and receive what, on which wires.
    slots : letters that a wire holds.
    device : gives pinned memory.
    """

    def __init__(self, table: Table, slots: int, device: Device) -> None:
        self._table, self._slots = table, slots
        carry = [i for i in range(len(table.leaves)) if table.wire[i]]
        self.pinned: dict[int, Bytes] = {i: device.pinned(int(table.nbytes[i])) for i in carry}
        """Action -> its letter in pinned memory, as bytes."""

    def send(self, i: int, step: int) -> bool:
        """Put the letter of an action on its wire; False: there is no room now."""
        at, size = int(self._table.wire[i]), int(self._table.nbytes[i])
        written = int(read_word(at))
        if written - int(read_word(at + READ)) >= self._slots:
            return False
        letter = at + LETTERS + (written % self._slots) * int(self._table.stride[i])
        words = _words(letter, 3)
        words[0], words[1], words[2] = int(self._table.tag[i]), step, size
        ctypes.memmove(letter + HEADER, self.pinned[i].ctypes.data, size)
        _words(at + SENT, 1)[0] += size
        write_word(at, written + 1)
        return True

    def receive(self, i: int, step: int) -> bool | None:
        """Take the letter of an action from its wire; False: it has not come, None: another one has."""
        at, size = int(self._table.wire[i]), int(self._table.nbytes[i])
        taken = _words(at + READ, 1)[0]
        if int(read_word(at)) == taken:
            return False
        letter = at + LETTERS + (taken % self._slots) * int(self._table.stride[i])
        if tuple(_words(letter, 3)) != (int(self._table.tag[i]), step, size):
            return None
        ctypes.memmove(self.pinned[i].ctypes.data, letter + HEADER, size)
        write_word(at + READ, taken + 1)
        return True


def _words(address: int, count: int) -> Any:
    """Words at an address of the host, to be read and written."""
    return (ctypes.c_int64 * count).from_address(address)
