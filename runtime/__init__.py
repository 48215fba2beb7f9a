"""Does it: kernels, memory, the native step, workers, data, checkpoints. `runtime.dist.launch.run` runs a `runtime.job.Job`.

It knows `graph` and `hw`, never `sim`: what it measures owes nothing to what was predicted.
"""
