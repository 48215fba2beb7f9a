"""Parallel plans: who computes, sends and waits, in which order, as data.

`instruction`, `plan` and `algorithm` hold the records, `machine` and `lanes` the order that all players share; `programs`,
`collectives` and `schedules` are what plans are put together from. `strategies` build them from a model, with `cut` (layers to
segments, parameters to buckets) and `shard` (layers to parts); `check` proves them, `spmd` plays them with numbers, `closed_form`
prices them, `unroll` writes a step out for the executor, `text` prints it. Importing this package fills the registries.
"""

from graph.parallel import collectives, programs, schedules, strategies  # noqa: F401 (fill the registries)
