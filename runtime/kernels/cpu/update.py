"""Optimizers, running statistics and the input stage: whole buffers, element by element."""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from hw.kernels.record import Call
from hw.kernels.tiling import aligned_to
from runtime.kernels.emit import LANES, words
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import bits_float, copy_bytes, first_lanes, load, load_masked, splat, store, store_masked
from runtime.kernels.table import float_bits, kernel, number

_read3, _read6, _read9 = words(3), words(6), words(9)


def _pack_sgd(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    rates = [float_bits(number(call, k)) for k in ("learning_rate", "momentum", "weight_decay")]
    return [*ptrs[:5], call.types[0].size, *rates]


@inlined
def _velocity(p, g, m, momentum, decay):
    return momentum * m + (g + decay * p)


@kernel("cpu.sgd", pack=_pack_sgd)
def sgd(args):
    """``m' = momentum m + (g + decay p)``, ``p' = p - rate m'``; results may lie where p and m lie."""
    p, g, m, new_p, new_m, n, rate_bits, momentum_bits, decay_bits = _read9(args)
    rate, momentum, decay = splat(bits_float(rate_bits)), splat(bits_float(momentum_bits)), splat(bits_float(decay_bits))
    for i in range(0, 4 * (n - LANES + 1), 4 * LANES):
        old = load(p + i)
        v = _velocity(old, load(g + i), load(m + i), momentum, decay)
        store(new_m + i, v)
        store(new_p + i, old - rate * v)
    rest = n % LANES
    if rest:
        k, i = first_lanes(rest), 4 * (n - rest)
        old = load_masked(p + i, k)
        v = _velocity(old, load_masked(g + i, k), load_masked(m + i, k), momentum, decay)
        store_masked(new_m + i, v, k)
        store_masked(new_p + i, old - rate * v, k)


def _pack_blend(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    decay = number(call, "decay")
    return [*ptrs[:3], call.types[0].size, float_bits(decay), float_bits(1.0 - decay)]


@kernel("cpu.blend", pack=_pack_blend)
def blend(p):
    """``decay * old + (1 - decay) * new``; the result may lie where the old lies."""
    old, new, to, n, decay, rest = _read6(p)
    keep, take = splat(bits_float(decay)), splat(bits_float(rest))
    for i in range(0, n, LANES):
        m = first_lanes(n - i)
        store_masked(to + 4 * i, keep * load_masked(old + 4 * i, m) + take * load_masked(new + 4 * i, m), m)


def _pack_input(call: Call, ptrs: Sequence[int]) -> Sequence[int]:
    """Addresses of a prefetched slot's values, then of the data buffer's; each in one piece, values aligned to 64 bytes."""
    return [ptrs[0], ptrs[len(call.types)], sum(aligned_to(t.nbytes, 64) for t in call.types)]


@kernel("cpu.input", pack=_pack_input)
def input_copy(p):
    """A prefetched batch goes to the data buffer."""
    source, to, n = _read3(p)
    copy_bytes(to, source, n)
