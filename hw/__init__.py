"""On what: devices, links and systems (`hw.catalogue`), kernel records (`hw.kernels`) and their cost (`hw.cost`).

`hw.lower` goes from a graph and a plan to kernel calls. Units are parsed at the edge by `hw.units`.
"""
