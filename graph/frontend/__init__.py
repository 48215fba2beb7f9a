"""Two ways to write a network: `symbol` (declare, then run) and `tape` (run, and record while running). One set of gradients."""
