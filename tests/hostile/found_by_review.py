"""Attacks that a review found to get through: each passed the audit, or cost far more than its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.hostile.configurations import (
    LAMBDA,
    Attack,
    Change,
    argument,
    both,
    call,
    compiled,
    function,
    key,
    serialized,
    variable,
    whole,
)
from tests.hostile.editing import Document, entry_of
from tiedio.errors import FormatError, LimitError, MismatchError, RebuildError, UnregisteredError, UnsafeError

# KerasHub registers it, and it writes a file: Keras takes the text for the function.
WRITES = "keras_hub>compute_sentence_piece_proto"


def operation(cls: dict[str, Any], *after: Any) -> Change:
    """Makes the dense layer an operation that is called with a tensor and with these arguments."""

    def change(document: Document) -> None:
        whole(cls)(document)
        entry = entry_of(document, "dense")
        for name in ("built", "path", "parent_path", "policy", "build_config"):
            entry.pop(name, None)
        node = next(n for n in document["structure"]["nodes"] if "args" in n and not n.get("input"))
        node["args"], node["kwargs"] = {"$tuple": [node["args"]["$tuple"][0], *after]}, {}

    return change


def switch(branch: Any, *operands: Any) -> Change:
    """An operation that calls what it is given, with what it is given."""
    return operation(serialized("keras.src.ops.core", "Switch", {}), [branch], *operands)


def held(owner: str, child: str, *steps: list[Any]) -> Change:
    """Lets a layer be held by another one at these steps, and not where it was."""

    def change(document: Document) -> None:
        names = [entry["name"] for entry in document["structure"]["objects"]]
        entry_of(document, child)["held"] = [[names.index(owner), list(steps)]]

    return change


def doubled(layers: Any, leaf: dict[str, Any], depth: int, outermost: Any = None, by_hand: bool = False) -> Change:
    """A layer that holds one twice that holds one twice, and so on.

    Args:
        layers: the class of a layer around others, from references to them.
        leaf: the class of the innermost layer.
        depth: how many layers are around each other.
        outermost: the class of the outermost layer, if it is another one.
        by_hand: whether one of the two is put there, and not in the configuration.
    """

    def change(document: Document) -> None:
        objects, records = document["structure"]["objects"], document["manifest"]["objects"]
        first = len(objects)
        for n in range(depth + 1):
            inner = [{"$object": first + n - 1}]
            cls = layers(inner if by_hand else inner * 2) if n else leaf
            entry: dict[str, Any] = {
                "kind": "object",
                "name": f"x{n}",
                "found_at": [],
                "config": {**cls["config"], "name": f"x{n}"},
            }
            entry["class"] = {name: cls[name] for name in ("module", "class_name", "registered_name")}
            entry["held"] = [[0, [["attribute", f"x{n}"]]]]
            record: dict[str, Any] = {"path": f".x{n}", "class_name": cls["class_name"], "paths": [f".x{n}"]}
            if by_hand and n < depth:
                entry["held"] += [[first + n + 1, [["attribute", "layers"], ["index", i]]] for i in (0, 1)]
                record["paths"] += [f".x{n + 1}/layers/{i}" for i in (0, 1)]
            objects.append(entry)
            records.append(record)
        whole((outermost or layers)([{"$object": first + depth}]), built=False)(document)
        entry_of(document, "dense").pop("build_config", None)

    return change


def pipeline(layers: list[Any]) -> dict[str, Any]:
    return serialized("keras.layers", "Pipeline", {"layers": layers})


def cells(layers: list[Any]) -> dict[str, Any]:
    return serialized("keras.layers", "StackedRNNCells", {"cells": layers})


def recurrent(layers: list[Any]) -> dict[str, Any]:
    return serialized("keras.layers", "RNN", {"cell": layers[0]})


def _names() -> Iterator[Attack]:
    yield Attack(
        "a function of KerasHub that writes a file, by its name alone, called by an operation",
        switch(WRITES, ["/etc/hostname"], {"$keras": 100}, "unigram", "pwned"),
        UnregisteredError, "compute_sentence_piece_proto",
    )  # fmt: skip
    places: dict[str, Change] = {
        "an initializer": argument("kernel_initializer", WRITES),
        "a loss": compiled("loss", WRITES),
        "a metric": compiled("metrics", [[WRITES]]),
        "a regularizer of a variable": variable("regularizer", WRITES),
        "an argument of a call, revived": call({"$keras": WRITES}),
        "a part of a dict without a configuration": compiled("loss", {"class_name": WRITES, "module": "x"}),
    }
    for place, change in places.items():
        yield Attack(f"a function of KerasHub by its name alone as {place}", change, UnregisteredError, WRITES)
    bomb = serialized("keras.metrics", "AUC", {"num_thresholds": 10**7})
    tokenizer = serialized(None, "", {"vocabulary": "/etc/passwd", "merges": []}, "keras_hub>BytePairTokenizer")
    tokenizer["class_name"] = 5
    yield Attack(
        "a class whose name is a number, known by the name that it is registered under",
        compiled("loss", tokenizer), FormatError, "5 for the name of a class",
    )  # fmt: skip
    yield Attack(
        "a metric under the key in which the audit kept other pairs",
        compiled("metrics", [{"$dict": [["$rest", bomb]]}]), LimitError, "num_thresholds",
    )  # fmt: skip
    yield Attack(
        "a lambda under that key", compiled("loss", {"$dict": [["$rest", LAMBDA]]}), UnsafeError, "Python code",
        unsafe=True,
    )  # fmt: skip
    hidden = {"$dict": [[{"$keras": "class_name"}, "TFSMLayer"], [{"$keras": "config"}, {"filepath": "evil"}]]}
    yield Attack("a class named under keys that are revived", call(hidden), FormatError, "a key that stands for")
    for name in ("get", "deserialize", "serialize"):
        yield Attack(
            f"a function that makes what it is told to: {name}",
            switch({"$keras": function("keras.losses", name)}, "mse"), UnregisteredError, name,
        )  # fmt: skip
    pairs = {"$dict": [["vocabulary", "/etc/passwd"], ["name", "dense"]]}
    yield Attack(
        "a file as a vocabulary in a configuration of pairs",
        both(whole(serialized("keras.layers", "StringLookup", {})), key("config", pairs)),
        UnsafeError, "vocabulary", unsafe=True,
    )  # fmt: skip


def _attributes() -> Iterator[Attack]:
    relu = function("keras.activations", "relu")
    for name, value in (("call", relu), ("train_step", relu), ("__class__", relu), ("stop_training", True)):
        yield Attack(
            f"{name} of a model as an argument of its own compile",
            key("compile_arguments", {name: value}, "model"), RebuildError, name,
        )  # fmt: skip
    for owner, name in (("dense", "activity_regularizer"), ("dense", "build"), ("model", "predict_function")):
        change = held(owner, "other", ["attribute", name])
        yield Attack(f"a layer for {name}, where no walk sees it", change, RebuildError, name)


def _doubled() -> Iterator[Attack]:
    relu, cell = serialized("keras.layers", "ReLU", {}), serialized("keras.layers", "SimpleRNNCell", {"units": 3})
    for name, change in (
        ("pipelines", doubled(pipeline, relu, 40)),
        ("pipelines, one of two put there by hand", doubled(pipeline, relu, 40, by_hand=True)),
        ("cells", doubled(cells, cell, 40, recurrent)),
    ):
        yield Attack(f"forty {name}, each of which holds another one twice", change, LimitError, "written out")
    yield Attack(
        "ten pipelines that call each other a thousand times", doubled(pipeline, relu, 11), LimitError, "calls"
    )


def optimizer(**facts: Any) -> Change:
    """Changes the manifest's record of the optimizer, and gives the variables a name that is slow to match."""

    def change(document: Document) -> None:
        for one in document["manifest"]["variables"]:
            one["path"] = "a" * 60 + "b"
        document["manifest"]["optimizers"][0].update(facts)

    return change


def _optimizers() -> Iterator[Attack]:
    for pattern in ("(a+)+$", "(a|aa)+$", "a*a*a*a*a*a*a*c"):
        change = optimizer(excluded_names=pattern)
        yield Attack(f"names that match {pattern}, which takes years", change, LimitError, "very long")
    yield Attack("names that match what is no pattern", optimizer(excluded_names="("), FormatError, "no pattern")
    variables = ["dense/kernel"] * 10_000
    yield Attack("one variable, ten thousand times", optimizer(variables=variables), FormatError, "twice")


def _gaps(end: str) -> Change:
    def change(document: Document) -> None:
        slots = document["manifest"]["variables"][0]["slots"]
        slots += [{"path": f"dense/x{n}/9999{end}"} for n in range(3_000)]

    return change


def _many() -> Iterator[Attack]:
    """Parts that each cost far more than the few bytes that name them."""
    thresholds = serialized("keras.metrics", "AUC", {"num_thresholds": 100_000, "multi_label": True})
    yield Attack(
        "lists of thresholds that are long together",
        compiled("metrics", [[thresholds] * 50]),
        LimitError,
        "all together",
    )
    for count, module, cls in (
        (2_100, "keras.metrics", "MeanSquaredError"),
        (2_100, "keras.losses", "Huber"),
        (300, "keras.optimizers", "Adam"),
        (1_100, "keras.random", "SeedGenerator"),
    ):
        parts = [serialized(module, cls, {"seed": 1} if cls == "SeedGenerator" else {})] * count
        yield Attack(f"{count:,} times {cls}", compiled("loss", parts), LimitError, "parts")
    for name, end in (("weight", ""), ("list", "/0")):
        yield Attack(
            f"three thousand lists, each with one {name} at its end", _gaps(end), MismatchError, "all together"
        )
    yield Attack("a hundred thousand empty lists", compiled("loss", [[]] * 100_000), LimitError, "parts")
    values = {"$keras": [{"a": 1}] * 100_000}
    yield Attack("a hundred thousand dicts in a call", call(values), LimitError, "parts")
    yield Attack(
        "a hundred thousand dicts at a variable", variable("constraint", values["$keras"]), LimitError, "parts"
    )


ATTACKS: tuple[Attack, ...] = (*_names(), *_attributes(), *_doubled(), *_optimizers(), *_many())
