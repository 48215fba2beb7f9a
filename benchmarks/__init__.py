"""Benchmarks: scripts, and `benchmarks.gpu`, whose modules are processes of one script."""
