"""Doubles of the primitives for Numba's simulator: plain Python, the same meaning. See `runtime.kernels.cuda.primitives`."""

# mypy: disable-error-code="no-untyped-def"

from numba import cuda, uint32

from graph.rng import MASK, MULTIPLIERS, ROUNDS, WEYL

SCRATCH = 1024
"""Elements of the shared memory that sums and maxima over a block need: one for each thread."""
VECTOR = 16


def _need_aligned(array, at, elements):
    """A device ends with an error where a wide access is not aligned; so does the simulator."""
    nbytes = array.dtype.itemsize
    if (array.ctypes.data + int(at) * nbytes) % min(elements * nbytes, VECTOR):
        raise ValueError(f"{elements} elements of {nbytes} bytes, from {at} on, are no aligned access")


def load4(array, at):
    """Four elements."""
    _need_aligned(array, at, 4)
    return array[at], array[at + 1], array[at + 2], array[at + 3]


def store4(array, at, a, b, c, d):
    """Write four elements."""
    _need_aligned(array, at, 4)
    array[at], array[at + 1], array[at + 2], array[at + 3] = a, b, c, d


def copy16(shared, to, array, at):
    """Copy 16 bytes at once."""
    _need_aligned(shared, to, VECTOR)
    _need_aligned(array, at, VECTOR)
    for i in range(16 // array.dtype.itemsize):
        shared[to + i] = array[at + i]


def commit():
    """Copies are done when they are asked for."""


def wait(groups):
    """Nothing to wait for."""


@cuda.jit(device=True)
def block_sum(x, scratch):
    """Sum over the threads of a block, for all of them, in the order of the threads."""
    me = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    scratch[me] = x
    cuda.syncthreads()
    total = x - x
    for i in range(cuda.blockDim.x * cuda.blockDim.y):
        total += scratch[i]
    cuda.syncthreads()
    return total


@cuda.jit(device=True)
def block_max(x, scratch):
    """Maximum over the threads of a block, for all of them."""
    me = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    scratch[me] = x
    cuda.syncthreads()
    found = x
    for i in range(cuda.blockDim.x * cuda.blockDim.y):
        found = max(found, scratch[i])
    cuda.syncthreads()
    return found


def quotient(a, b):
    """``a // b`` of whole numbers that are not negative."""
    if a < 0 or b <= 0:
        raise ValueError(f"{a} // {b} is not for numbers without a sign")
    return a // b


def power(x, y):
    """``x^y``, x > 0."""
    return x**y


@cuda.jit(device=True)
def lanes_sum(x, lanes, scratch):
    """Sum over so many neighbouring threads, for all of them, in their order."""
    me = cuda.threadIdx.x
    scratch[me] = x
    cuda.syncthreads()
    total = x - x
    for i in range(me - me % lanes, me - me % lanes + lanes):
        total += scratch[i]
    cuda.syncthreads()
    return total


@cuda.jit(device=True)
def lanes_max(x, lanes, scratch):
    """Maximum over so many neighbouring threads, for all of them."""
    me = cuda.threadIdx.x
    scratch[me] = x
    cuda.syncthreads()
    found = x
    for i in range(me - me % lanes, me - me % lanes + lanes):
        found = max(found, scratch[i])
    cuda.syncthreads()
    return found


def philox(c0, c1, c2, c3, k0, k1):
    """Four random words for a counter and a key."""
    a, b, c, d, k0, k1 = (int(x) & MASK for x in (c0, c1, c2, c3, k0, k1))
    for _ in range(ROUNDS):
        p, q = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = q >> 32 ^ b ^ k0, q & MASK, p >> 32 ^ d ^ k1, p & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return uint32(a), uint32(b), uint32(c), uint32(d)
