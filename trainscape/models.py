"""What is known of a model without running it: parameters, multiply-adds and activations, in all and by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainscape.load import load_text
from trainscape.overrides import is_assignment
from trainscape.scenario import ModelPart
from trainscape.zoo_graph import model_graph


def list_models() -> list[dict[str, Any]]:
    """Name, summary and own depth of every model, the images and classes it was published for, its counts on those, and whether
    it can be trained.
    """
    from graph.summary import summary
    from graph.zoo import MODELS

    found = []
    for m in MODELS.values():
        counts = summary(m.build(1, image=m.image, classes=m.classes))
        found.append(
            {
                "name": m.name,
                "summary": m.summary,
                "depth": m.depth,
                "image": list(m.image),
                "classes": m.classes,
                "trains": m.trains,
                "parameters": counts["parameters"],
                "forward_macs_per_sample": counts["forward_macs_per_sample"],
            }
        )
    return found


def model_rows(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str, str]]:
    """Models as (name, image, classes, parameters, multiply-adds, summary) for a table."""
    return [
        (
            m["name"],
            "x".join(map(str, m["image"])),
            f"{m['classes']:,}",
            f"{m['parameters']:,}",
            f"{m['forward_macs_per_sample']:,}",
            m["summary"],
        )
        for m in models
    ]


def show_model(name: str, overrides: Sequence[str] = (), seed: int | None = None) -> dict[str, Any]:
    """Numbers of a model, on the images and with the classes it was published for unless overrides say otherwise.

    Parameters
    ----------
    name : of the zoo.
    overrides : ``"width=2"``, or ``"model.width=2"`` as for a scenario.
    seed : of dropout.

    Returns
    -------
    The settings, and what `graph.summary.summary` says.

    Raises
    ------
    ScenarioError : a setting is unknown or out of range, or the model cannot be built with it.
    """
    from graph.summary import summary

    model = model_part(name, overrides, seed)
    graph = model_graph(model, batch=1, seed=seed or 0)
    return {"model": name, "settings": model.model_dump(mode="json"), **summary(graph)}


def model_part(name: str, overrides: Sequence[str] = (), seed: int | None = None, *, batch: int = 1) -> ModelPart:
    """The settings of a model by itself, as a scenario's; parameters and errors as of `show_model`, for so many images."""
    from graph.zoo import MODELS

    own = MODELS[name]
    image, classes, depth = list(own.image), own.classes, own.depth
    settings = [t if t.startswith("model.") or not is_assignment(t) else f"model.{t}" for t in overrides]
    part = f"{{name: {name}, depth: {depth}, input: {image}, classes: {classes}, batch: {batch}}}"
    first = f"name: {name}\nmodel: {part}\nparallel: {{strategy: inference}}\nrun: {{data: synthetic}}\n"
    return load_text(first, f"model {name}", settings, seed).scenario.model


def layer_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Layers as (name, operators, output of a sample, parameters, multiply-adds) for a table."""
    return [
        (
            layer["name"],
            " ".join(layer["operators"]),
            "x".join(map(str, layer["output_shape"][1:])) or "1",
            f"{layer['parameters']:,}",
            f"{layer['macs']:,}",
        )
        for layer in document["layers"]
    ]
