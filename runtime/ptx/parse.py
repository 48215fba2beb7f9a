"""PTX text as a program: instructions in order, labels, parameters, shared arrays. The subset that NVVM makes of kernels."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.errors import RunError
from runtime.kernels.cuda.arguments import Entry, entry_of


class PtxError(RunError):
    """A program that cannot be read, or does what no program may."""


@dataclass(frozen=True)
class Reg:
    """A register, by its name."""

    name: str


@dataclass(frozen=True)
class Const:
    """A number as it is written; that of a float is a bit pattern."""

    value: int
    is_float: bool = False


@dataclass(frozen=True)
class Name:
    """A parameter, an array or a label."""

    name: str


@dataclass(frozen=True)
class Memory:
    """What lies so many bytes behind an address."""

    base: "Operand"
    offset: int = 0


@dataclass(frozen=True)
class Several:
    """Operands in braces, or a result with a predicate beside it."""

    items: tuple["Operand", ...]


Operand = Reg | Const | Name | Memory | Several


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Parameters
    ----------
    op : its parts, e.g. ``("ld", "shared", "v4", "f32")``.
    operands : results first.
    guard : predicate under which it is carried out, and whether that is negated.
    line : of the text.
    """

    op: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: tuple[Reg, bool] | None
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: {'.'.join(self.op)}"


@dataclass
class Program:
    """A kernel.

    Parameters
    ----------
    entry : its name and parameters.
    instructions : in order.
    labels : name -> instruction that it stands before.
    registers : name -> kind, e.g. ``"f32"``.
    shared : array -> where it begins in a block's shared memory.
    shared_nbytes : of a block.
    """

    entry: Entry
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    registers: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_nbytes: int = 0


_TOKEN = re.compile(r"%?[\w$]+(?:\.[\w]+)*|[-+]|[\[\]{}|,!]")
_SPECIAL = re.compile(r"%(?:tid|ntid|ctaid|nctaid)\.[xyz]|%laneid")


def parse(text: str) -> Program:
    """Read the PTX of one kernel.

    Raises
    ------
    PtxError : it has no kernel or several, or something that is not known here.
    """
    head, brace, body = re.sub(r"//[^\n]*", "", text).partition("\n{")
    if not brace:
        raise PtxError("not the PTX of one kernel")
    try:
        made = Program(entry=entry_of(head))
    except RunError as e:
        raise PtxError(str(e)) from e
    _arrays(made, head)
    _Body(made, head.count("\n") + 2).read(body[: body.rindex("}")])
    return made


def _arrays(made: Program, text: str) -> None:
    for align, name, size in re.findall(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+(\w+)\[(\d+)\]", text):
        begin = -(-made.shared_nbytes // int(align)) * int(align)
        made.shared[name], made.shared_nbytes = begin, begin + int(size)


class _Body:
    """Reads statements; names of registers that braces enclose are their own."""

    def __init__(self, made: Program, line: int) -> None:
        self.made, self.line = made, line
        self.scopes: list[dict[str, str]] = []

    def read(self, body: str) -> None:
        for text, line in self._statements(body):
            self.line = line
            if text == "{":
                self.scopes.append({})
            elif text == "}":
                self.scopes.pop()
            elif text.endswith(":"):
                self.made.labels[text[:-1].strip()] = len(self.made.instructions)
            elif text.startswith("."):
                self._declare(text)
            else:
                self._instruct(text)

    def _statements(self, body: str) -> Iterator[tuple[str, int]]:
        line, depth, begun = self.line, 0, ""
        for piece in re.split(r"([;{}\n]|\$?\w+:)", body):
            if piece == "\n":
                line += 1
            if piece in ("{", "}") and not (begun.strip() or depth):
                yield piece, line
            elif piece == ";":
                if begun.strip():
                    yield begun.strip(), line
                begun = ""
            elif piece.endswith(":") and not begun.strip():
                yield piece, line
            else:
                depth += (piece == "{") - (piece == "}")
                begun += piece

    def _declare(self, text: str) -> None:
        if text.startswith(".shared"):
            return _arrays(self.made, text)
        found = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", text, re.DOTALL)
        if found is None:
            if text.split()[0] in (".loc", ".pragma", ".file"):
                return None
            raise PtxError(f"line {self.line}: {text.split()[0]} is not known here")
        kind, names = found[1], [n.strip() for n in found[2].split(",")]
        for name in names:
            many = re.fullmatch(r"(%\w+)<(\d+)>", name)
            for each in [f"{many[1]}{i}" for i in range(int(many[2]))] if many else [name]:
                own = f"{each}@{len(self.made.registers)}" if self.scopes else each
                if self.scopes:
                    self.scopes[-1][each] = own
                self.made.registers[own] = kind
        return None

    def _instruct(self, text: str) -> None:
        guard = None
        if text[0] == "@":
            word, text = text[1:].split(None, 1)
            guard = (Reg(word.lstrip("!")), word[0] == "!")
        op, _, rest = text.partition(" ") if " " in text else text.partition("\t")
        name, _, more = op.partition("\t")
        operands = tuple(self._operands(f"{more} {rest}"))
        self.made.instructions.append(Instruction(tuple(name.replace("::", "_").split(".")), operands, guard, self.line))

    def _operands(self, text: str) -> list[Operand]:
        tokens = _TOKEN.findall(text)
        found: list[Operand] = []
        while tokens:
            item = self._operand(tokens)
            while tokens and tokens[0] == "|":
                tokens.pop(0)
                item = Several((item, self._operand(tokens)))
            found.append(item)
            if tokens and tokens.pop(0) != ",":
                raise PtxError(f"line {self.line}: cannot read {text.strip()!r}")
        return found

    def _operand(self, tokens: list[str]) -> Operand:
        token = tokens.pop(0)
        if token == "{":
            items = [self._operand(tokens)]
            while tokens.pop(0) == ",":
                items.append(self._operand(tokens))
            return Several(tuple(items))
        if token == "[":
            base, offset = self._operand(tokens), 0
            if tokens[0] in "+-":
                signs = [tokens.pop(0)]
                while tokens[0] in "+-":
                    signs.append(tokens.pop(0))
                offset = (-1) ** signs.count("-") * int(tokens.pop(0), 0)
            tokens.pop(0)
            if isinstance(base, Const):
                raise PtxError(f"line {self.line}: an address that is a number")
            return Memory(base, offset)
        if token == "-":
            return Const(-int(tokens.pop(0), 0))
        return self._simple(token)

    def _simple(self, token: str) -> Operand:
        for scope in reversed(self.scopes):
            if token in scope:
                return Reg(scope[token])
        if token in self.made.registers or _SPECIAL.fullmatch(token):
            return Reg(token)
        if bits := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})|0[dD]([0-9a-fA-F]{16})", token):
            return Const(int(bits[1] or bits[2], 16), is_float=True)
        if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", token.rstrip("U")):
            return Const(int(token.rstrip("U"), 0))
        if token.startswith("%"):
            raise PtxError(f"line {self.line}: register {token} is not known here")
        return Name(token)


def float_of(bits: int, nbytes: int) -> float:
    """The float of a bit pattern."""
    kind = {4: ("<I", "<f"), 8: ("<Q", "<d")}[nbytes]
    return float(struct.unpack(kind[1], struct.pack(kind[0], bits))[0])
