"""Which CUDA kernels there are, and where: as on the CPU."""

from graph.op import OPS
from hw.kernels import KERNELS, Platform
from runtime.kernels import table
from runtime.kernels.cuda import FAMILIES
from runtime.kernels.cuda.check import library_records, records
from runtime.kernels.cuda.kernel import CUDA_KERNELS, load_families

load_families()
table.load_families()
NEEDED = [r.name for r in (*records(), *library_records()) if r.op in OPS or r.op in ("input", "accumulate")]


def stem(module: str) -> str:
    return module.rpartition(".")[2]


def test_every_record_has_a_kernel_and_the_other_way_round() -> None:
    assert sorted(set(NEEDED) - set(CUDA_KERNELS)) == [], "records without a kernel in runtime/kernels/cuda"
    assert sorted(set(CUDA_KERNELS) - set(NEEDED)) == [], "kernels without a record in hw.kernels"


def test_kernels_lie_in_files_named_as_on_the_cpu() -> None:
    homes = {r.op: stem(table.CPU_KERNELS[r.name].function.__module__) for r in KERNELS.values() if r.platform is Platform.CPU}
    for name, kernel in CUDA_KERNELS.items():
        home = homes[KERNELS[name].op] if kernel.library is None else "vendor"  # calls of libraries lie together: a CPU has none
        assert stem(kernel.launches.__module__) == home, name


def test_families_are_those_that_have_kernels() -> None:
    assert sorted({stem(k.launches.__module__) for k in CUDA_KERNELS.values()}) == sorted(FAMILIES)


def test_names_of_device_kernels_are_unique() -> None:
    kernels = {id(k): k for c in CUDA_KERNELS.values() for k in c.kernels}.values()
    names = [k.name for k in kernels]
    assert len(set(names)) == len(names), sorted(n for n in set(names) if names.count(n) > 1)
