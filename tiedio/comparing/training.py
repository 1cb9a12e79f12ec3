"""How models are compiled, and their optimizers, of two files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiedio.comparing.encoded import Names, compare
from tiedio.comparing.found import Found, Orders, compare_keys, is_automatic
from tiedio.comparing.sides import Match
from tiedio.manifest import Optimizer

_OF_OPTIMIZER = ("class_name", "built", "excluded_names")
_ORDERS = ("variables", "excluded_from_weight_decay")


def compare_training(match: Match, names: tuple[Names, Names], found: Found) -> None:
    """Compares what models compile with, but for their optimizers."""
    if match.a.training is None or match.b.training is None:
        return
    there = dict(reversed(match.objects))
    models = [
        {names[n]["$object"](one.get("model")): one for one in side.training["models"]}
        for n, side in enumerate((match.a, match.b))
        if side.training is not None
    ]
    for path, one in models[0].items():
        other = models[1].get(path)
        if other is None:
            if path in there:
                found.add("compile", path, "compiled,", "", None)
            continue
        compare_keys("compile", path, one.get("config"), other.get("config"), names, found)
        for key in ("omitted",):
            apart = compare(one.get(key), other.get(key), names)
            if apart is not None:
                found.add("compile", path, "arguments that no config tells", *apart.texts())
    for path in models[1]:
        if path not in models[0]:
            found.add("compile", path, "compiled,", None, "")
    shared = [side.training.get("shared", []) for side in (match.a, match.b) if side.training is not None]
    apart = compare(shared[0], shared[1], names)
    if apart is not None:
        found.add("compile", "", "parts that several settings share", *apart.texts())


def compare_optimizers(match: Match, names: tuple[Names, Names], found: Found) -> None:
    """Compares optimizers: class, configuration, and the variables that they were built for."""
    there = dict(reversed(match.objects))
    records = [{one.path: one for one in side.manifest.optimizers} for side in (match.a, match.b)]
    entries = (match.a.optimizers(), match.b.optimizers())
    orders = Orders.of(match)
    seen = set()
    for path, one in records[0].items():
        theirs = _path_in_b(path, there)
        other = records[1].get(theirs)
        if other is None:
            found.add("compile", path, "", one.class_name, None)
            continue
        seen.add(theirs)
        _compare_optimizer(path, one, other, orders, found)
        configs = [_config_of(entries[0].get(path)), _config_of(entries[1].get(theirs))]
        if all(isinstance(config, dict) for config in configs):
            labels = zip((config.get("name") for config in configs), (one, other), strict=True)
            if all(is_automatic(label, record.class_name) for label, record in labels):
                configs = [{key: item for key, item in config.items() if key != "name"} for config in configs]
            compare_keys("compile", path, configs[0], configs[1], names, found)
    for path, one in records[1].items():
        if path not in seen:
            found.add("compile", path, "", None, one.class_name)


def _path_in_b(path: str, there: Mapping[str, str]) -> str:
    model, mark, rest = path.rpartition("@optimizer")
    owner = there.get(model.removesuffix("/"), model.removesuffix("/"))
    return f"{owner}/{mark}{rest}" if owner else f"{mark}{rest}"


def _compare_optimizer(path: str, a: Optimizer, b: Optimizer, orders: Orders, found: Found) -> None:
    for key in _OF_OPTIMIZER:
        if getattr(a, key) != getattr(b, key):
            found.add("compile", path, key.replace("_", " "), str(getattr(a, key)), str(getattr(b, key)))
    for key in _ORDERS:
        one, other = getattr(a, key), getattr(b, key)
        if len(one) != len(other):
            found.add("compile", path, f"number of {key.replace('_', ' ')}", str(len(one)), str(len(other)))
        else:
            orders.compare(path, key.replace("_", " "), one, other, found, "compile")


def _config_of(entry: Any) -> Any:
    return entry.get("config") if isinstance(entry, dict) else None
