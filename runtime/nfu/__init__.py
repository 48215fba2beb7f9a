"""The NFU itself: programs of `hw.nfu.isa` executed bit by bit.

`arithmetic` says what becomes of a sum of products on its way, `check` refuses what no NFU could do, `machine` plays a program on
its buffers and a memory, `values` runs a layer by itself.

Whole plans: `player` plays one, `rank` has an arena and computes, `bound` puts instructions at their places, `clock` tells
the emulated time.
"""
