"""PTX carried out without a device: what the compiler made of a kernel, thread by thread, on NumPy arrays.

Numba's simulator runs a kernel's Python source with doubles for its primitives. Here the compiled program runs, with shuffles,
asynchronous copies and tensor cores as the PTX ISA defines them. What a device does by chance is an error: a race, a read of what
nobody has written or of a copy that was not waited for, an access beyond an array or not aligned.

parse.py      text -> instructions
decode.py     an instruction -> a function over the lanes that carry it out
numbers.py    their arithmetic; warps.py, what the threads of a warp do together
memory.py     global and shared memory, and who has touched what since the last barrier
traffic.py    how often memory is asked for it
machine.py    blocks of threads: divergence, barriers, copies under way
run.py        a launch of a kernel, and what it does counted
"""
