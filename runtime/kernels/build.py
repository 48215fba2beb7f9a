"""What kernels are made of, and making them: source hashes without importing Numba, and compilation in parallel.

A hash covers the program text (its syntax tree, so neither comments nor layout) of the file that defines a kernel and of all
that this file imports from the places in `WATCHED`. Calibration profiles and compiled code are keyed by it.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from graph.errors import nearest
from graph.instrument import hooks
from runtime.errors import RunError
from runtime.kernels.cpu import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
WATCHED = (
    "runtime.kernels.cpu.",
    "runtime.kernels.emit",
    "runtime.kernels.simd",
    "runtime.kernels.mathematics",
    "runtime.native",
    "hw.kernels.geometry",
    "hw.kernels.tiling",
    "runtime.nfu.",
    "hw.nfu.isa",
    "runtime.kernels.cuda.",
    "hw.kernels.cuda",
)
RECORDED = "hw.kernels.cpu"
"""The package with the kernels' terms, a family a file: calibrated coefficients are worth nothing when these change."""
COUNTED = (f"{RECORDED}.common", "hw.kernels.automatic", "hw.kernels.count")
"""The modules that all terms stand on."""
OPTIONS = "runtime.kernels.cache"
"""The module with the compiler's options: a part of every hash."""


def _module_file(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _tree(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@cache
def _digest(file: Path) -> bytes:
    return sha256(ast.dump(_tree(file)).encode()).digest()


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            found += (_module_file(n) for n in names if n.startswith(WATCHED) and _module_file(n).is_file())
    return tuple(found)


@cache
def file_hash(file: Path) -> str:
    """Hash of a source file and of the watched files that it imports, directly or not."""
    seen: dict[Path, None] = {}
    todo = [file.resolve(), _module_file(OPTIONS)]
    while todo:
        at = todo.pop()
        if at not in seen:
            seen[at] = None
            todo += _imports(at)
    return sha256(b"".join(_digest(at) for at in sorted(seen))).hexdigest()


@cache
def _homes() -> dict[str, Path]:
    """Kernel -> file that defines it, found by reading."""
    found: dict[str, Path] = {}
    for family in FAMILIES:
        file = _module_file(f"runtime.kernels.cpu.{family}")
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "kernel":
                if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                    found[node.args[0].value] = file
    return found


def source_hash(kernel_name: str) -> str:
    """Hash of everything that a kernel's machine code and its terms are made from, 16 hexadecimal digits; reads text only.

    Raises
    ------
    RunError : there is no such kernel.
    """
    homes = _homes()
    if kernel_name not in homes:
        raise RunError(f"unknown CPU kernel {kernel_name!r}; {nearest(kernel_name, homes)}")
    home = homes[kernel_name]
    files = [home, *map(_module_file, (*COUNTED, f"{RECORDED}.{home.stem}"))]
    return sha256(",".join(file_hash(f) for f in files if f.is_file()).encode()).hexdigest()[:16]


def source_hashes() -> dict[str, str]:
    """Kernel name -> `source_hash`, for every CPU kernel."""
    return {name: source_hash(name) for name in _homes()}


def _cold(names: Sequence[str]) -> list[str]:
    from runtime.kernels.cache import is_cached
    from runtime.kernels.table import function_of

    return [n for n in names if not is_cached(function_of(n))]


def _all_names() -> list[str]:
    from runtime.kernels.table import CPU_KERNELS, HELPERS, LOOPS, load_families

    load_families()
    return [*HELPERS, *CPU_KERNELS, *LOOPS]


def _shares(names: Sequence[str], processes: int) -> list[list[str]]:
    """Split the work: the register tile takes as long as a dozen others, so it gets a share that starts with it alone."""
    heavy = [n for n in names if n == "helper.panel"]
    rest = [n for n in names if n not in heavy]
    if processes < 2 or len(names) < 4:
        return [list(names)]
    first = len(rest) // 3 if heavy else len(rest) // 2
    return [heavy + rest[:first], rest[first:]]


def compile_all(names: Sequence[str] | None = None, *, instruments: Sequence[object] = (), processes: int = 2) -> None:
    """Make the kernels ready: compile what is not on disk, in up to two processes, then load everything into this one.

    Parameters
    ----------
    names : kernels (all by default); helpers and the table's loop come along.
    instruments : who watches (`graph.instrument`): a phase, and a part of it for every function that had to be compiled.
    processes : how many may compile at the same time.

    Raises
    ------
    RunError : a compiling process failed; the message ends with what it said.
    """
    from runtime.kernels.table import HELPERS, LOOPS, address

    known = _all_names()
    wanted = known if names is None else [*HELPERS, *names, *LOOPS]
    on_part = hooks(instruments, "on_part")
    cold = _cold(wanted)
    for call in hooks(instruments, "on_phase"):
        call("compiling kernels" if cold else "loading kernels")
    if len(cold) > 1:
        for done, _ in enumerate(_compile_apart(cold, processes), 1):
            for call in on_part:
                call(done, len(cold))
    for name in wanted:
        address(name)
    if len(cold) == 1:
        for call in on_part:
            call(1, 1)


def _compile_apart(names: Sequence[str], processes: int) -> Iterable[str]:
    """Compile in other processes; yields names as they get done."""
    return apart("runtime.kernels.build", [s for s in _shares(names, processes) if s])


def apart(module: str, shares: Iterable[Sequence[str]]) -> Iterable[str]:
    """Compile in one process a share, each a module run with its words; yields the lines that they say.

    Raises
    ------
    RunError : one of them failed; the message ends with what it said.
    """
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", module]
    running = [subprocess.Popen([*command, *s], stdout=pipe, stderr=pipe, text=True, cwd=ROOT) for s in shares]
    try:
        yield from _lines(running)
        for p in running:
            _, problem = p.communicate()
            if p.returncode:
                raise RunError(f"compiling kernels failed: {problem.strip()[-2000:]}")
    finally:
        for p in running:
            if p.poll() is None:
                p.kill()
            p.wait()


def _lines(running: Sequence["subprocess.Popen[str]"]) -> Iterable[str]:
    """Lines of several processes' output, as they come."""
    import selectors

    with selectors.DefaultSelector() as waiting:
        for p in running:
            waiting.register(p.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while waiting.get_map():
            for key, _ in waiting.select():
                line = key.fileobj.readline()  # type: ignore[union-attr]
                if line:
                    yield line.strip()
                else:
                    waiting.unregister(key.fileobj)


def main(names: Sequence[str]) -> None:
    """Compile these functions in this process, and say so line by line."""
    from runtime.kernels.table import address

    _all_names()
    for name in names:
        address(name)
        sys.stdout.write(name + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
