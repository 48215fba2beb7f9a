"""`--set key.of.a.setting=value`: changes the data of a document before it is checked, and remembers that it did."""

from typing import Any

from trainscape.errors import Mistake
from trainscape.names import strategy
from trainscape.places import Places
from trainscape.strategies import OPTION_KEYS, allowed, short
from trainscape.systems import HOST
from trainscape.yaml_reader import Document, Loc, read_text


def is_assignment(text: str) -> bool:
    """Whether a text has the form ``key=value``."""
    key, equals, _ = text.partition("=")
    return bool(equals) and all(key.strip().split("."))


def apply(doc: Document, places: Places, text: str) -> list[Mistake]:
    """Apply one override; the value is parsed as YAML.

    Unknown keys are put in place as they are: checking the result finds them, with the nearest known key.

    Returns
    -------
    What is wrong with the override itself.
    """
    key, _, value_text = text.partition("=")
    key = key.strip()
    origin = f"--set {key}"
    value = read_text(value_text, origin)
    if not value_text.strip():
        return [Mistake(place=origin, path=key, message=f"no value; write {origin}=value")]
    if value.mistakes and value_text.strip() not in ("null", "~"):
        return [Mistake(place=origin, path=key, message=m.message) for m in value.mistakes]
    path = _path(doc.data, key)
    holder: Any = doc.data
    for i, part in enumerate(path[:-1]):
        if isinstance(holder, dict) and holder.get(str(part)) is None:
            holder[str(part)] = {}
        inside = _get(holder, part)
        if not isinstance(inside, dict | list):
            where = ".".join(map(str, path[: i + 1]))
            return [Mistake(place=origin, path=key, message=f"{where} is {inside!r}, which has no keys")]
        holder = inside
    return _put(holder, path, value.data, places, origin, key)


def drop_foreign_options(data: Any, places: Places) -> tuple[str, ...]:
    """When an override has changed the strategy, leave out what the file says of another one's options.

    Returns
    -------
    What was left out, as warnings. An option that was itself set by an override stays, and is refused later.
    """
    parallel = data.get("parallel") if isinstance(data, dict) else None
    if ("parallel", "strategy") not in places.overrides or not isinstance(parallel, dict):
        return ()
    try:
        mine = allowed(strategy(str(parallel["strategy"])))
    except ValueError:  # no such strategy: that is said later
        return ()
    foreign = [k for k in OPTION_KEYS if k in parallel and k not in mine and ("parallel", k) not in places.overrides]
    for key in foreign:
        del parallel[key]
    return tuple(f"parallel.{k} means nothing for strategy {short(parallel['strategy'])} and is left out" for k in foreign)


def drop_foreign_platform(data: Any, places: Places) -> tuple[str, ...]:
    """When an override has named a catalogue system, leave out which part of this computer the file's scenario runs on.

    Returns
    -------
    What was left out, as warnings. A platform that was itself set by an override stays, and is refused later.
    """
    system = data.get("system") if isinstance(data, dict) else None
    if ("system", "name") not in places.overrides or ("system", "platform") in places.overrides or not isinstance(system, dict):
        return ()
    if system.get("name") == HOST or system.get("platform") is None:
        return ()
    named = system.pop("platform")
    return (f"system.platform: {named} is of this computer and is left out, for {system['name']} says itself what it is",)


def _put(holder: Any, path: Loc, value: Any, places: Places, origin: str, key: str) -> list[Mistake]:
    last = path[-1]
    if isinstance(holder, list):
        if not isinstance(last, int) or not 0 <= last < len(holder):
            return [Mistake(place=origin, path=key, message=f"the list has items 0 to {len(holder) - 1}, not {last}")]
        holder[last] = value
    else:
        holder[str(last)] = value
    places.overrides[path] = origin
    return []


def _get(holder: Any, part: str | int) -> Any:
    if isinstance(holder, list):
        return holder[part] if isinstance(part, int) and 0 <= part < len(holder) else None
    return holder.get(str(part))


def _path(data: Any, key: str) -> Loc:
    """The key's parts. Keys that hold dots themselves (those of `expect`) are matched whole where the file has them."""
    parts, path, holder, i = key.split("."), [], data, 0
    while i < len(parts):
        step, part = 1, parts[i]
        if isinstance(holder, dict):
            for n in range(len(parts) - i, 1, -1):
                if ".".join(parts[i : i + n]) in holder:
                    step, part = n, ".".join(parts[i : i + n])
                    break
        index: str | int = int(part) if isinstance(holder, list) and part.isdigit() else part
        path.append(index)
        holder = _get(holder, index) if isinstance(holder, dict | list) else None
        i += step
    return tuple(path)
