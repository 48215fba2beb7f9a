"""Runs with several processes: `launch.run` is the parent, `worker` what it starts, `control` the memory that they share."""
