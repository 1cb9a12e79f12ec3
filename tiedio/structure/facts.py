"""Names, paths and records of building of a rebuilt object: what no constructor takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiedio import keras_api, slots


def set_facts(value: Any, entry: Mapping[str, Any], decode: Callable[[Any], Any]) -> None:
    """Names, paths and records of building, as they were."""
    noted = entry.get("config")
    makes_notes = isinstance(value, keras_api.Operation)  # a metric does not
    if makes_notes and noted and keras_api.auto_config(value) is None and not keras_api.overrides(value, "get_config"):
        # Its owner handed it a policy this time where it had handed nothing or a name, of which Keras makes a note.
        keras_api.set_auto_config(value, decode(noted))
    for name, seed in entry.get("seeds", {}).items():
        initializer = vars(value).get(name)
        if keras_api.has_drawn_seed(initializer):
            initializer.seed = seed
    if "inner_names" in entry:
        keras_api.rename_inner_graph(value, *entry["inner_names"])
    if "path" in entry:
        keras_api.set_object_facts(value, path=entry["path"], parent_path=entry["parent_path"])
        keras_api.set_policy(value, decode(entry["policy"]))
        if not entry["built"] and value.built and keras_api.graph_of(value) is None:
            value.built = False
        elif entry["built"] and not value.built:
            keras_api.mark_built(value, shapes_of(decode(entry.get("build_config"))))
        if entry["kind"] == "object" and not keras_api.overrides(value, "get_build_config"):
            # A layer whose weights were set by hand was never built: it has no shapes to tell.
            shapes = shapes_of(decode(entry.get("build_config")))
            keras_api.set_object_facts(value, build_shapes_dict=shapes)
        if entry["built"]:
            keras_api.set_adapted_shape(value, decode(entry.get("build_config")))
        if isinstance(value, keras_api.RAW_SLOTS_SUFFICE[1:]) and "lora_alpha" in (entry.get("config") or {}):
            value.lora_alpha = entry["config"]["lora_alpha"]  # `build` of some of these classes forgets it


def seeds_of(value: Any) -> dict[str, int]:
    """Seeds that initializers drew for themselves, by the attribute of an object that holds one.

    No config tells them, and code outside Keras may draw with them when it is called: random features, say.
    """
    if type(value).__module__.partition(".")[0] in ("keras", "keras_hub"):
        return {}
    held = sorted(slots.own_attributes(value).items())
    return {name: item.seed for name, item in held if keras_api.has_drawn_seed(item)}


def shapes_of(build_config: Any) -> Any:
    """What Keras notes of `build`'s arguments, from what `get_build_config` tells of it."""
    if build_config is None:
        return None
    return build_config.get("shapes_dict", build_config)
