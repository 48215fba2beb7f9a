"""From files and overrides to a `Scenario`: every mistake at once, each with file, line and column, or with its override."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from graph.errors import nearest
from graph.record import record
from trainscape.cross_check import Findings, cross_check
from trainscape.errors import Mistake, MistakeKind, ScenarioError
from trainscape.overrides import apply, drop_foreign_options, drop_foreign_platform
from trainscape.places import Places
from trainscape.scenario import Scenario
from trainscape.yaml_reader import MAX_BYTES, Document, Loc, Position, read_bytes, read_text


@record
class Loaded:
    """A scenario and where it came from.

    Parameters
    ----------
    file : as the user gave it.
    scenario : the scenario, overrides applied.
    places : where its settings stand.
    warnings : what is allowed, but probably not meant.
    """

    file: str
    scenario: Scenario
    places: Places
    warnings: tuple[str, ...] = ()

    @property
    def data_folder(self) -> Path | None:
        """Folder of the data set's files: relative to the scenario file."""
        return _data_folder(self.file, self.scenario)

    def infeasible(self, why: str) -> ScenarioError:
        """What to raise when a scenario turns out not to be possible once it is built, with its place."""
        return ScenarioError([self.places.mistake(("parallel",), why, kind=MistakeKind.INFEASIBLE)])


def _data_folder(file: str, scenario: Scenario) -> Path | None:
    folder = scenario.data.folder
    return None if folder is None else Path(file).parent / Path(folder).expanduser()


def load(file: str, overrides: Sequence[str] = (), seed: int | None = None, *, tolerant: bool = False) -> Loaded:
    """Read, override and check a scenario file.

    Parameters
    ----------
    file : path of the file.
    overrides : each ``"key.of.a.setting=value"``, the value in YAML.
    seed : replaces the scenario's seed.
    tolerant : a scenario that is right, but that no system can do, is no mistake.

    Raises
    ------
    ScenarioError : with all mistakes of the file and of the overrides.
    """
    try:
        with Path(file).open("rb") as f:
            raw = f.read(MAX_BYTES + 1)  # enough to see that there is too much, also of a device that never ends
    except OSError as e:
        raise ScenarioError([Mistake(place=file, path="", message=f"cannot be read: {e.strerror or e}")]) from None
    return check(read_bytes(raw, file), overrides, seed, tolerant=tolerant)


def load_text(text: str, file: str = "scenario", overrides: Sequence[str] = (), seed: int | None = None) -> Loaded:
    """Like `load`, for a text that is not in a file."""
    return check(read_text(text, file), overrides, seed)


def check(doc: Document, overrides: Sequence[str] = (), seed: int | None = None, *, tolerant: bool = False) -> Loaded:
    """Apply overrides to a document and check it; see `load`."""
    if not isinstance(doc.data, dict):
        if not doc.mistakes:
            at = doc.values.get((), Position(1, 1))
            doc.mistakes.append(doc.mistake(at, (), f"a scenario is a mapping of keys to values, got {shown(doc.data)}"))
        raise ScenarioError(doc.mistakes)
    places, mistakes = Places(doc), list(doc.mistakes)
    for text in overrides:
        mistakes += apply(doc, places, text)
    dropped = (*drop_foreign_options(doc.data, places), *drop_foreign_platform(doc.data, places))
    if seed is not None:
        doc.data["seed"] = seed
        places.overrides[("seed",)] = "--seed"
    scenario: Scenario | None = None
    try:
        scenario = Scenario.model_validate(doc.data)
        found = cross_check(scenario, _data_folder(doc.file, scenario))
    except ValidationError as e:
        errors = e.errors()
        mistakes += [_explain(places, error) for error in errors]
        found = _cross_check_rest(doc, errors)
    tolerated = (MistakeKind.INFEASIBLE,) if tolerant else ()
    mistakes += [places.mistake(f.path, f.message, kind=f.kind) for f in found.findings if f.kind not in tolerated]
    if mistakes or scenario is None:
        raise ScenarioError(_in_order(mistakes))
    return Loaded(file=doc.file, scenario=scenario, places=places, warnings=(*dropped, *found.warnings))


def _cross_check_rest(doc: Document, errors: Iterable[Mapping[str, Any]]) -> Findings:
    """What the rules between keys find in a scenario with mistakes, as far as they look at none of the keys with mistakes."""
    data = deepcopy(doc.data)
    doubtful = {path for error in errors for path in _doubtful(error)}
    for path in doubtful:
        _remove(data, path)
    data.setdefault("name", "unnamed")
    data.setdefault("model", {}).setdefault("name", "mlp")
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError:
        return Findings()
    return cross_check(scenario, _data_folder(doc.file, scenario), doubtful)


_REQUIRED = (("name",), ("model",), ("model", "name"))
"""Keys without a default for which something can stand in."""


def _doubtful(error: Mapping[str, Any]) -> list[Loc]:
    """The keys whose value an error leaves open: its own, and for an unknown key the known one that was probably meant."""
    path: Loc = tuple(error["loc"])
    if path[:1] == ("expect",):
        return [path[:2]]
    if error["type"] == "extra_forbidden":
        return [path, *((*path[:-1], known) for known in get_close_matches(str(path[-1]), _keys(path[:-1]), n=1))]
    return [path[:-1] if error["type"] == "missing" and path not in _REQUIRED else path]


def _remove(data: Any, path: Loc) -> None:
    """Take away what stands at a path or, where the path leads into something that has no keys, that."""
    for i, part in enumerate(path):
        inside = data.get(part) if isinstance(data, dict) else None
        if i == len(path) - 1 or (inside is not None and not isinstance(inside, dict)):
            data.pop(part, None)
            return
        if inside is None:
            return
        data = inside


def _in_order(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """Those of the file by place, then those of overrides; one a path (a value that is no YAML is not also out of range)."""
    first: dict[tuple[str, str], Mistake] = {}
    for m in mistakes:
        first.setdefault((m.place, m.path), m)
    return sorted(first.values(), key=lambda m: (m.line == 0, m.line, m.column))


def shown(value: Any) -> str:
    """A value as a message shows it, with its kind."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_LIMITS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a section of keys and values",
    "dict_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
}


def _explain(places: Places, error: Mapping[str, Any]) -> Mistake:
    """Our words for one error of the model."""
    kind, path, got = str(error["type"]), tuple(error["loc"]), error.get("input")
    context: Mapping[str, Any] = error.get("ctx", {})
    if path[-1:] == ("[key]",):  # pydantic's name for the key of a mapping
        return places.mistake(path[:-1], str(context["error"]), at_key=True)
    if kind == "extra_forbidden":
        return places.mistake(path, f"unknown key {str(path[-1])!r}; {nearest(str(path[-1]), _keys(path[:-1]))}", at_key=True)
    if kind == "missing":
        return places.mistake(path, "missing, and there is no default")
    if kind in _LIMITS:
        words, bound = _LIMITS[kind]
        limit = context[bound]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return places.mistake(path, f"must be {words} {limit}, got {shown(got)}")
    if kind in _KINDS:
        hint = "; remove the quotes" if kind in ("int_type", "float_type") and _is_number(got) else ""
        return places.mistake(path, f"must be {_KINDS[kind]}, got {shown(got)}{hint}")
    if kind == "enum":
        names = [str(m.value) for m in _enum(path)]
        return places.mistake(path, f"must be {' or '.join(names)}, got {shown(got)}{_near(got, names)}")
    if kind == "value_error":
        return places.mistake(path, str(context["error"]))
    if kind == "string_too_long":
        return places.mistake(path, f"must have at most {context['max_length']} characters, not {len(str(got))}")
    if kind == "string_too_short":
        return places.mistake(path, "must not be empty")
    return places.mistake(path, f"{error['msg']}, got {shown(got)}")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def _near(got: Any, names: Sequence[str]) -> str:
    hint = nearest(got, names) if isinstance(got, str) else ""
    return f"; {hint}" if hint.startswith("did") else ""


def _field(path: Loc) -> Any:
    """The declared type at a path of the scenario, optional ones stripped."""
    kind: Any = Scenario
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1]
        if isinstance(kind, UnionType) or get_origin(kind) is Union:
            kind = next(k for k in get_args(kind) if k is not type(None))
        while hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
    return kind


def _keys(path: Loc) -> tuple[str, ...]:
    return tuple(_field(path).model_fields)


def _enum(path: Loc) -> tuple[Enum, ...]:
    return tuple(_field(path))
