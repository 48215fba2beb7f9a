"""Record of the matrix product."""

from collections.abc import Iterable

from graph.op import Attrs, Size
from graph.tensor_type import f32
from hw.kernels.count import Terms
from hw.kernels.cpu.common import EPILOGUES, FUSED, cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, blocks, matmul_cut


def _matmul_terms(types: Types, attrs: Attrs) -> Terms:
    cut, g, t = matmul_cut(types, attrs), host_geometry(), Terms()
    for k in blocks(cut.k, cut.kb) if cut.k else (0,):
        for m in blocks(cut.m, cut.mb):
            t.panels(m, cut.n, cut.pw, k, 1, g)
            for w in blocks(cut.n, cut.pw) if cut.packed else ():
                t.turn(w, k, g) if attrs["tb"] else t.copy_rows(k, w, g)
    return t.traffic(operands("matmul", types, attrs))


_MATMUL = (  # m, n, k; forward, then as its two gradients
    (7, 9, 11),
    (12, 7, 50),
    (20, 12, 36),
    (24, 13, 100),
    (30, 10, 150),
    (48, 11, 70),
    (50, 30, 60),
    (72, 8, 96),
    (96, 14, 200),
    (90, 45, 30),
    (40, 100, 90),
    (100, 75, 110),
    (56, 130, 220),
    (150, 96, 75),
    (220, 11, 90),
    (200, 60, 300),
    (110, 150, 450),
    (280, 90, 130),
    (36, 260, 620),
    (160, 200, 250),
    (300, 240, 100),
    (10, 60, 40),
    (14, 90, 110),
    (18, 130, 70),
    (26, 70, 130),
    (110, 1100, 70),
    (700, 170, 430),
)


def _matmul_sizes() -> Iterable[Size]:
    for i, (m, n, k) in enumerate(_MATMUL):
        a, b, bias = f32(m, k), f32(k, n), f32(n)
        epilogue = EPILOGUES[i % 3]
        yield Size(types=(a, b, bias) if epilogue else (a, b), attrs={"ta": False, "tb": False, "epilogue": epilogue})
        yield Size(types=(a, f32(m, n)), attrs={"ta": True, "tb": False, "epilogue": ""})
        yield Size(types=(f32(m, n), b), attrs={"ta": False, "tb": True, "epilogue": ""})


def _matmul_bytes(types: Types, attrs: Attrs) -> int:
    return matmul_cut(types, attrs).workspace


MATMUL = (cpu_record("matmul", "matmul", _matmul_terms, _matmul_sizes, _matmul_bytes, FUSED),)
