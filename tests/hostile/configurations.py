"""Attacks that a configuration can hold: each changes the texts of a good file.

The names begin with the number under which the attack was met by loaders of Keras models, where it has one.
"""

from __future__ import annotations

import base64
import marshal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.editing import Document, entry_of
from tiedio.errors import FormatError, LimitError, MismatchError, TiedioError, UnregisteredError, UnsafeError

Change = Callable[[Document], None]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Args:
        name: what it does.
        change: how it changes the texts of the file of `tests.hostile.conftest.good`.
        error: what refuses it.
        says: what the error's text has to tell, as a regular expression.
        unsafe: whether it is for safe mode to refuse, so that Keras, too, lets it pass without.
    """

    name: str
    change: Change
    error: type[TiedioError]
    says: str
    unsafe: bool = False


def serialized(module: Any, class_name: str, config: Any, registered: Any = None) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def function(module: str, name: str, registered: Any = None) -> dict[str, Any]:
    return serialized(module, "function", name, registered or name)


def _code() -> str:
    compiled = compile("open('pwned', 'w').close()", "<attack>", "exec")
    return base64.encodebytes(marshal.dumps(compiled, 2)).decode()


LAMBDA = serialized("builtins", "__lambda__", {"code": _code(), "defaults": None, "closure": None}, None)


def argument(name: str, value: Any, layer: str = "dense") -> Change:
    """Gives a layer's configuration an argument."""

    def change(document: Document) -> None:
        entry_of(document, layer)["config"][name] = value

    return change


def whole(cls: dict[str, Any], layer: str = "dense", **more: Any) -> Change:
    """Makes a layer one of another class, with this configuration."""

    def change(document: Document) -> None:
        entry = entry_of(document, layer)
        entry["class"] = {key: cls[key] for key in ("module", "class_name", "registered_name")}
        entry["config"] = {**cls["config"], "name": layer}
        entry.update(more)

    return change


def key(name: str, value: Any, layer: str = "dense") -> Change:
    """Gives a layer's entry a key."""

    def change(document: Document) -> None:
        entry_of(document, layer)[name] = value

    return change


def compiled(name: str, value: Any) -> Change:
    """Gives the compile configuration an argument."""

    def change(document: Document) -> None:
        document["training"]["models"][0]["config"][name] = value

    return change


def variable(name: str, value: Any) -> Change:
    """Gives a variable a regularizer or constraint."""

    def change(document: Document) -> None:
        document["manifest"]["variables"][0][name] = value

    return change


def call(value: Any) -> Change:
    """Gives the call of the dense layer another argument."""

    def change(document: Document) -> None:
        node = next(n for n in document["structure"]["nodes"] if "args" in n and not n.get("input"))
        node["kwargs"] = {"training": value}

    return change


def both(*changes: Change) -> Change:
    def change(document: Document) -> None:
        for one in changes:
            one(document)

    return change


_PLACES: dict[str, Callable[[Any], Change]] = {
    "an activation": lambda x: argument("activation", x),
    "an initializer in a tuple": lambda x: argument("kernel_initializer", {"$tuple": [x]}),
    "an initializer, as pairs": lambda x: argument("kernel_initializer", {"$dict": [[k, v] for k, v in x.items()]}),
    "an initializer, as an ordered dict": lambda x: argument("bias_initializer", {"$ordered": [*map(list, x.items())]}),
    "a policy": lambda x: key("policy", x),
    "a policy of what an owner makes": lambda x: key("policy", x, "seed"),
    "shapes of building": lambda x: key("build_config", {"input_shape": x}),
    "an argument of its own compile": lambda x: key("compile_arguments", {"sampler": x}, "model"),
    "a loss": lambda x: compiled("loss", x),
    "a metric in a list": lambda x: compiled("metrics", [[x]]),
    "a regularizer of a variable": lambda x: variable("regularizer", x),
    "an argument of a call": call,
    "an argument of a call, revived": lambda x: call({"$keras": x}),
}


def _everywhere(name: str, value: Any, error: type[TiedioError], says: str, unsafe: bool = False) -> Iterator[Attack]:
    for place, put in _PLACES.items():
        if place != "a policy of what an owner makes":
            yield Attack(f"{name} as {place}", put(value), error, says, unsafe)


def _gadgets() -> Iterator[Attack]:
    yield from _everywhere("2024-3660 bytecode of a lambda", LAMBDA, UnsafeError, "Python code", unsafe=True)
    yield Attack(
        "2026-12481 a Lambda layer",
        whole(serialized("keras.layers", "Lambda", {"function": LAMBDA})),
        UnsafeError,
        "Python code",
        unsafe=True,
    )
    yield from _everywhere("2025-1550 a function of any module", function("os", "system"), UnregisteredError, "system")
    yield from _everywhere(
        "2025-1550 a class of any module", serialized("subprocess", "Popen", {"args": "id"}), UnregisteredError, "Popen"
    )
    yield Attack(
        "2025-1550 a layer of any module",
        whole(serialized("antigravity", "Layer", {}, "antigravity")),
        UnregisteredError,
        "antigravity",
    )
    gadget = function("keras.utils", "get_file")
    yield from _everywhere("2025-8747 a download", gadget, UnregisteredError, "get_file")
    for module, name in (
        ("keras.saving", "load_model"),
        ("keras.models", "load_model"),
        ("keras.src.saving.saving_api", "load_model"),
        ("keras.utils", "image_dataset_from_directory"),
        ("keras.preprocessing.image", "load_img"),
        ("keras.ops.numpy", "load"),
        ("builtins", "eval"),
        ("keras_hub", "upload_preset"),
    ):
        yield Attack(
            f"2025-8747 {module}.{name}", argument("activation", function(module, name)), UnregisteredError, name
        )
    for name in ("upload_preset", "compute_sentence_piece_proto", "decode_imagenet_predictions", "deserialize", "get"):
        registered = f"keras_hub>{name}"
        yield Attack(
            f"2025-8747 KerasHub's {name}, which it registers",
            argument("activation", function("builtins", registered)),
            UnregisteredError,
            name,
        )
    switch = function("keras.config", "enable_unsafe_deserialization")
    yield from _everywhere("2025-9906 switching safe mode off", switch, UnregisteredError, "enable_unsafe")
    yield Attack(
        "2025-9906 an argument that switches safe mode off",
        both(argument("safe_mode", False), argument("activation", LAMBDA)),
        UnsafeError,
        "Python code",
        unsafe=True,
    )
    pickle = base64.b64encode(b"cos\nsystem\n(S'touch pwned'\ntR.").decode()
    yield Attack(
        "2025-49655 a pickle in a torch module",
        whole(serialized("keras.layers", "TorchModuleWrapper", {"module": pickle})),
        UnsafeError,
        "TorchModuleWrapper",
        unsafe=True,
    )
    yield Attack(
        "2026-1462 a SavedModel of the attacker",
        whole(serialized("keras.layers", "TFSMLayer", {"filepath": "/tmp/evil", "call_endpoint": "serve"})),
        UnsafeError,
        "TFSMLayer",
        unsafe=True,
    )
    for cls in ("StringLookup", "IntegerLookup", "TextVectorization"):
        for kind, address in (("a local file", "/etc/passwd"), ("a remote address", "http://127.0.0.1:9/words.txt")):
            yield Attack(
                f"2025-12058 {kind} as the vocabulary of {cls}",
                whole(serialized("keras.layers", cls, {"vocabulary": address})),
                UnsafeError,
                f"{cls}.*vocabulary",
                unsafe=True,
            )
    for argument_name in ("vocabulary", "merges", "proto"):
        yield Attack(
            f"2025-12058 a file as the {argument_name} of a tokenizer",
            whole(
                serialized("keras_hub.tokenizers", "X", {argument_name: "hf://evil/x"}, "keras_hub>BytePairTokenizer")
            ),
            UnsafeError,
            argument_name,
            unsafe=True,
        )
    yield Attack(
        "an address in any other argument",
        argument("kernel_regularizer", "gs://evil/x"),
        UnsafeError,
        "kernel_regularizer",
        unsafe=True,
    )


def _structures() -> Iterator[Attack]:
    dense = serialized("keras.layers", "Dense", {"units": 3})
    model = serialized("keras", "Sequential", {"name": "inner", "layers": [dense] * 3})
    yield from _everywhere("2025-9905 a layer in the manner of Keras", model, FormatError, "keras.Sequential")
    yield Attack(
        "2025-9905 a whole model in the manner of Keras",
        whole(model),
        FormatError,
        "Dense",
    )
    yield Attack(
        "a functional model in the manner of Keras",
        whole(serialized("keras.src.models.functional", "Functional", {"layers": []}, "Functional")),
        FormatError,
        "Functional",
    )
    yield Attack("a loss as a layer", whole(serialized("keras.losses", "Huber", {})), UnregisteredError, "Huber")
    yield Attack(
        "a callback, which writes files", whole(serialized("keras.callbacks", "CSVLogger", {"filename": "pwned"})),
        UnsafeError, "CSVLogger|filename", unsafe=True,
    )  # fmt: skip
    yield Attack(
        "a callback as a metric",
        compiled("metrics", [serialized("keras.callbacks", "BackupAndRestore", {"backup_dir": "pwned"})]),
        UnregisteredError,
        "BackupAndRestore",
    )
    yield Attack(
        "a dataset as an initializer",
        argument("kernel_initializer", serialized("keras.utils", "PyDataset", {})),
        UnregisteredError,
        "PyDataset",
    )
    yield Attack(
        "a configuration to compile beside a loss",
        compiled("loss", {**serialized("keras.losses", "Huber", {}), "compile_config": {"optimizer": "sgd"}}),
        FormatError,
        "compile_config",
    )
    yield Attack(
        "a shared object by its number",
        compiled("loss", {**serialized("keras.losses", "Huber", {}), "shared_object_id": "tiedio:0"}),
        FormatError,
        "shared_object_id",
    )
    spec = serialized("subprocess", "__typespec__", []) | {"spec_name": "Popen"}
    yield Attack("a type of TensorFlow", argument("activation", spec), UnregisteredError, "typespec")
    yield Attack("a call without a tensor", _constant_call, FormatError, "without a tensor")
    yield Attack("a class for the place of a layer", _put_at([["attribute", "__class__"]]), FormatError, "places")
    yield Attack("a layer for a method", _put_at([["attribute", "call"]], agree=True), TiedioError, "call")
    yield Attack(
        "a layer among the globals of a function",
        _put_at([["attribute", "activation"], ["attribute", "__globals__"], ["key", "backend"]], agree=True),
        MismatchError,
        "other/x",
    )
    yield Attack("a slot far behind the end of a list", _slot("dense/x/999999999"), MismatchError, "no such place|slot")
    yield Attack("a slot in Python's own dict", _slot("dense/__dict__/x"), MismatchError, "no such place|slot")
    yield Attack("a slot that is a method", _slot("dense/call"), MismatchError, "call")
    yield Attack("a slot in place of a method", _slot("dense/call/0"), TiedioError, "call")


def _constant_call(document: Document) -> None:
    node = next(n for n in document["structure"]["nodes"] if "args" in n and not n.get("input"))
    node["args"] = {"$tuple": [1.0]}


def _put_at(steps: list[Any], agree: bool = False) -> Change:
    """Puts a layer at one more place of another one; `agree` lets the manifest say so, too."""

    def change(document: Document) -> None:
        entries = document["structure"]["objects"]
        owner = next(n for n, entry in enumerate(entries) if entry["name"] == "other")
        number = next(n for n, entry in enumerate(entries) if entry["name"] == "dense")
        entries[number]["held"].append([owner, steps])
        if agree:
            document["manifest"]["objects"][number]["paths"].append("other/x")

    return change


def _slot(path: str) -> Change:
    """Lets a variable stand in one more place."""

    def change(document: Document) -> None:
        document["manifest"]["variables"][0]["slots"].append({"path": path})

    return change


def _bombs() -> Iterator[Attack]:
    identity = serialized("keras.initializers", "Identity", {})
    yield Attack(
        "an identity matrix of 14 GiB",
        both(argument("units", 60_000), argument("kernel_initializer", identity),
             argument("batch_shape", {"$tuple": [None, 60_000]}, "given")),
        LimitError, "unlisted",
    )  # fmt: skip
    auc = serialized("keras.metrics", "AUC", {"num_thresholds": 10**8})
    yield Attack("a metric of a hundred million thresholds", compiled("metrics", [auc]), LimitError, "num_thresholds")
    many = serialized("keras.metrics", "AUC", {"num_thresholds": 100})
    yield Attack("forty thousand metrics", compiled("metrics", [[many] * 40_000]), LimitError, "parts")
    layers = [serialized("keras.layers", "Dense", {"units": 3}) for _ in range(3_000)]
    yield Attack(
        "three thousand layers in one configuration",
        whole(serialized("keras", "Sequential", {"layers": layers})),
        FormatError,
        "Dense",
    )
    yield Attack("three thousand objects", _more_objects(3_000), LimitError, "objects")
    yield Attack("ten thousand calls", _more_calls(10_000), LimitError, "objects")
    yield Attack("sequential models that all hold all", _tangle(900), LimitError, "sequential models")
    yield Attack("a slot of half a million segments", _slot("dense/" + "x/" * 500_000), TiedioError, "place|slot")
    yield Attack("one place, ten thousand times", _one_place(10_000), FormatError, "places")
    yield Attack("more units than anything has", argument("units", 2**40), LimitError, "units")
    yield Attack("as many units as are allowed", argument("units", 1 << 20), TiedioError, "1048576")
    confusion = serialized("keras.metrics", "MeanIoU", {"num_classes": 60_000})
    yield Attack("a table of 60,000 classes", compiled("metrics", [confusion]), LimitError, "unlisted")
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    yield Attack("four hundred levels", argument("activation", deep), LimitError, "depth")
    text = serialized("builtins", "__numpy__", {"value": "a", "dtype": "U100000000"})
    yield Attack("a text of a hundred million letters", argument("bias_initializer", text), FormatError, "dtype")
    huge = serialized("keras.dtype_policies", "DTypePolicy", {"name": "x" * 100_000})
    yield Attack("a name of a hundred thousand letters", key("policy", huge), TiedioError, "DTypePolicy|dtype")
    backbone = {
        "vocabulary_size": 3, "num_layers": 10**6, "num_heads": 1, "hidden_dim": 2, "intermediate_dim": 2,
        "max_sequence_length": 3,
    }  # fmt: skip
    yield Attack(
        "a million layers of a language model",
        whole(
            serialized("keras_hub.src.models.gpt2.gpt2_backbone", "GPT2Backbone", backbone, "keras_hub>GPT2Backbone")
        ),
        LimitError,
        "objects|unlisted",
    )
    yield Attack(
        "a split into a million parts",
        both(whole(serialized("keras.src.ops.numpy", "Split", {"indices_or_sections": 10**6, "axis": 1}), "other"),
             whole(serialized("keras.layers", "RepeatVector", {"n": 1_000_000}))),
        LimitError, "indices_or_sections",
    )  # fmt: skip
    yield Attack(
        "a million tensors of one",
        both(whole(serialized("keras.src.ops.core", "Unstack", {"axis": 1}), "other"),
             whole(serialized("keras.layers", "RepeatVector", {"n": 1_000_000}))),
        LimitError, "objects",
    )  # fmt: skip


def _more_objects(count: int) -> Change:
    def change(document: Document) -> None:
        entry, record = document["structure"]["objects"][-1], document["manifest"]["objects"][-1]
        for n in range(count):
            document["structure"]["objects"].append({**entry, "held": [[0, [["attribute", f"x{n}"]]]]})
            document["manifest"]["objects"].append({**record, "path": f".x{n}", "paths": [f".x{n}"]})

    return change


def _tangle(count: int) -> Change:
    def change(document: Document) -> None:
        objects, records = document["structure"]["objects"], document["manifest"]["objects"]
        first, everything = len(objects), list(range(len(objects), len(objects) + count))
        for n in everything:
            name, held = f"s{n}", [[0, [["attribute", f"s{n}"]]]]
            entry = {"kind": "sequential", "name": name, "held": held, "found_at": [], "layers": everything}
            reference = {"module": "keras", "class_name": "Sequential", "registered_name": None}
            objects.append(entry | {"class": reference, "shape": None})
            records.append({"path": f".s{n}", "class_name": "Sequential", "paths": [f".s{n}"]})
            node = {"operation": first + (n * 7) % count, "call": n, "model": n, "position": 0}
            document["structure"]["nodes"].append(node)

    return change


def _one_place(count: int) -> Change:
    def change(document: Document) -> None:
        number = next(n for n, entry in enumerate(document["structure"]["objects"]) if entry["found_at"])
        entry, record = (document[text]["objects"][number] for text in ("structure", "manifest"))
        entry["held"] *= count
        entry["found_at"] = list(range(len(entry["held"])))
        record["paths"] += [f"drop/x{n}" for n in range(len(entry["held"]) - len(record["paths"]))]

    return change


def _more_calls(count: int) -> Change:
    def change(document: Document) -> None:
        nodes = document["structure"]["nodes"]
        node = next(n for n in nodes if "args" in n and not n.get("input"))
        nodes.extend({**node, "call": n} for n in range(1, count))

    return change


BOMBS: tuple[Attack, ...] = tuple(_bombs())
ATTACKS: tuple[Attack, ...] = (*_gadgets(), *_structures(), *BOMBS)
