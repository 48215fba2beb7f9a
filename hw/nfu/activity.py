"""What a layer makes an NFU do, counted: what energy is computed from, whoever counted."""

from dataclasses import fields

from graph.record import record


@record
class Activity:
    """Counts of accesses and cycles.

    Parameters
    ----------
    cycles : from the first request to the last word stored, stalls included.
    busy_cycles : in which NFU-1 and NFU-2 (of pooling NFU-2 alone) work.
    products : multiplications that are wanted; idle lanes are not.
    function_rows : rows that go through NFU-3.
    sb_reads, nbin_reads, nbout_reads : rows read by the NFU.
    nbout_writes : rows of partial sums and results that it writes.
    sb_fills, nbin_fills, nbout_fills : rows that a DMA engine writes.
    nbout_drains : rows that it reads.
    dram_read_bytes, dram_write_bytes : of main memory.
    instructions : that the control processor reads.
    """

    cycles: int = 0
    busy_cycles: int = 0
    products: int = 0
    function_rows: int = 0
    sb_reads: int = 0
    nbin_reads: int = 0
    nbout_reads: int = 0
    nbout_writes: int = 0
    sb_fills: int = 0
    nbin_fills: int = 0
    nbout_fills: int = 0
    nbout_drains: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    instructions: int = 0

    @property
    def dram_bytes(self) -> int:
        """Both ways."""
        return self.dram_read_bytes + self.dram_write_bytes

    def __add__(self, other: "Activity") -> "Activity":
        return Activity(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})
