"""CUDA kernels, one file a family, named as those of the CPU; the list below is what is loaded.

kernel.py       how kernels are declared and launched
primitives.py   what they are written with, each with a double for the simulator
flat.py         what those share that go over flat arrays element by element
vectors.py      one element of a thread or four, for threads that stand in rows of a matrix; column_sums.py adds up its rows
compile.py      compiling and assembling them without a device, and what comes out
run.py          launches bound to arrays and carried out
library.py      calls of a vendor's libraries in place of launches; blas.py cuBLAS, dnn.py cuDNN
check.py        each kernel against the reference of its operator
"""

FAMILIES: tuple[str, ...] = (
    "batch_norm",
    "concat",
    "conv",
    "dropout",
    "elementwise",
    "exchange",
    "local_conv",
    "lrn",
    "matmul",
    "pool",
    "quantize",
    "reduce",
    "reshape",
    "softmax",
    "update",
    "vendor",
)
