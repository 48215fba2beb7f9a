"""Trainscape's public face: scenario files read, jobs predicted, run and compared, results reported.

The command line is `trainscape.cli`. The house below it: `graph` says what is computed, `hw` on what, `sim` times it,
`runtime` does it.
"""

__version__ = "0.1.0"
