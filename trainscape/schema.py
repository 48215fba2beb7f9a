"""The JSON Schema of scenario files, made from the models of `trainscape.scenario`, for completion and checks in editors.

Names of models, systems, strategies and collectives are not in it: they are open sets, and adding one must not touch this file.
"""

import json
from pathlib import Path
from typing import Any

from trainscape.result_keys import KEYS
from trainscape.scenario import Scenario

FILE = Path(__file__).with_name("scenario.schema.json")


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    found = Scenario.model_json_schema(mode="validation")
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(found)}
    found["title"], found["description"] = "Trainscape scenario", "A model on a system, how it is shared out, and what is run."
    keys = "|".join(sorted(k.replace(".", "\\.") for k in KEYS))
    found["properties"]["expect"]["propertyNames"] = {"pattern": f"^({keys})(\\.[0-9]+)?$"}
    data = found["$defs"]["RunPart"]["properties"]["data"]
    found["$defs"]["RunPart"]["properties"]["data"] = {
        "anyOf": [{"$ref": "#/$defs/DataName"}, {"$ref": data["$ref"]}],
        "description": data["description"],
    }
    found["$defs"]["ParallelPart"]["properties"]["bucket"]["default"] = "32 KiB"
    found["$defs"]["RunPart"]["properties"]["timeout"]["default"] = "600 s"
    found["$defs"]["ModelPart"]["properties"]["input"]["default"] = "digits"
    return found


def _tidy(node: Any) -> Any:
    """Without the titles that repeat the keys, the defaults of whole sections, and null where a key can be left out."""
    if isinstance(node, dict):
        if {"type": "null"} in node.get("anyOf", ()) and "default" in node:
            others = [kind for kind in node["anyOf"] if kind != {"type": "null"}]
            rest = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
            return _tidy({**others[0], **rest} if len(others) == 1 else {"anyOf": others, **rest})
        is_section = "$ref" in node and isinstance(node.get("default"), dict)
        drop = {"default"} if is_section else set()
        if isinstance(node.get("title"), str):
            drop.add("title")
        return {k: _tidy(v) for k, v in node.items() if k not in drop}
    return [_tidy(v) for v in node] if isinstance(node, list) else node


def schema_text() -> str:
    """The schema as the shipped file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False, sort_keys=False) + "\n"
