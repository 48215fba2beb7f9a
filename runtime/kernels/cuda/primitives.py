"""What CUDA kernels are written with: wide accesses, asynchronous copies, sums over warps and blocks.

Each primitive exists twice under one name: as instructions, and, in Numba's simulator, as a double that does the same with plain
Python, `runtime.kernels.cuda.doubles`. Kernels import them from here and know no difference. A primitive that threads carry out
together (`block_sum`) gets the shared memory that it needs, since in the simulator a warp has no other way.
"""

# mypy: disable-error-code="no-untyped-def"

from numba.core import config

if config.ENABLE_CUDASIM:
    from runtime.kernels.cuda.doubles import (
        SCRATCH,
        block_max,
        block_sum,
        commit,
        copy16,
        lanes_max,
        lanes_sum,
        load4,
        philox,
        power,
        quotient,
        store4,
        wait,
    )
    from runtime.kernels.cuda.matrix_doubles import (
        SHARED_ALIGNMENT,
        copy4_or_zero,
        copy16_or_zero,
        fragments4,
        fragments4_turned,
        load2,
        multiply_bf16,
        multiply_fp16,
        multiply_tf32,
        put4_bf16,
        put4_fp16,
        put_bf16,
        put_fp16,
        store2,
        tf32,
    )
else:
    from runtime.kernels.cuda.instructions import (
        SCRATCH,
        block_max,
        block_sum,
        commit,
        copy16,
        lanes_max,
        lanes_sum,
        load4,
        philox,
        power,
        quotient,
        store4,
        wait,
    )
    from runtime.kernels.cuda.matrix_instructions import (
        SHARED_ALIGNMENT,
        copy4_or_zero,
        copy16_or_zero,
        fragments4,
        fragments4_turned,
        load2,
        multiply_bf16,
        multiply_fp16,
        multiply_tf32,
        put4_bf16,
        put4_fp16,
        put_bf16,
        put_fp16,
        store2,
        tf32,
    )

__all__ = [
    "SHARED_ALIGNMENT",
    "copy16_or_zero",
    "copy4_or_zero",
    "fragments4",
    "fragments4_turned",
    "load2",
    "multiply_bf16",
    "multiply_fp16",
    "multiply_tf32",
    "put4_bf16",
    "put4_fp16",
    "put_bf16",
    "put_fp16",
    "store2",
    "tf32",
    "SCRATCH",
    "block_max",
    "block_sum",
    "commit",
    "copy16",
    "lanes_max",
    "lanes_sum",
    "load4",
    "philox",
    "power",
    "quotient",
    "store4",
    "wait",
]
