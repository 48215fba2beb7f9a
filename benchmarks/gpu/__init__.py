"""The run on a GPU: `run.py` is its script, docs/gpu.md tells what it does.

run.py, needs.py            what is asked for, and what is missing
sections.py, budget.py      parts of the run and their time
play.py                     a process for each, and the document
worker.py, context.py, part.py   such a process, and what it leaves
document.py, report.py, targets.py   what comes of it: JSON, Markdown, which numbers are reached
bound.py, timing.py, contest.py   one of our kernels: on memory of its own, timed, against a rival's
peer.py, memory_rivals.py, torch_net.py   the rival, PyTorch
nets.py                     the nets whose steps are timed
machine.py check.py gemm.py convolution.py memory.py calibrate.py predict.py validate.py steps.py   the sections
"""
