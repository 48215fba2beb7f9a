"""Compiled kernels. `table` is where to begin: argument blocks and the loop over them; `build` compiles them."""
