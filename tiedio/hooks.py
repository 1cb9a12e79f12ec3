"""The saving hooks of objects: what a class stores by `save_own_variables` and `save_assets`, and vocabularies.

Slots are always stored raw. Where a class has hooks of its own, they run as well, since they may carry more than
variables; after loading, every slot within their reach must still hold the file's bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import arrays, keras_api, naming, slots, values
from tiedio.allowance import Allowance
from tiedio.errors import MismatchError, ModelError, RebuildError, TiedioError, one_line
from tiedio.manifest import SAFETENSORS_CODES, Stored

VARIABLES = ("save_own_variables", "load_own_variables")
ASSETS = ("save_assets", "load_assets")
DISCRETIZATION = keras_api.keras.layers.Discretization

MARKS = {"variables": "@own_variables", "assets": "@assets", "vocabulary": "@vocabulary"}
"""How the path of a tensor goes on from its object; no slot has these segments."""

Read = Callable[[Stored], np.ndarray[Any, Any]]
"""The value of a stored tensor, as an array of its dtype and shape."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What hooks gave: a record for each key, and the array behind each tensor that is no slot's."""

    stored: tuple[Stored, ...]
    sources: dict[str, Any]


def describe(objects: Sequence[tuple[str, Any]], variables: Mapping[str, Any], *, configs: bool = True) -> Kept:
    """Runs the saving hooks of live objects and notes their vocabularies.

    Args:
        objects: path and object, of layers and optimizers alike.
        variables: the variable of each canonical slot.
        configs: whether configs tell too; if not, vocabularies and boundaries that stand there are noted as well.

    Raises:
        ModelError: if a hook fails, or gives what a file cannot hold.
    """
    stored: list[Stored] = []
    sources: dict[str, Any] = {}
    for path, value in objects:
        for hook, key, item in _given(path, value, configs):
            where = "/".join([slots.join(path, MARKS[hook]), *(slots.escape(part) for part in key.split("/"))])
            array = _as_array(item, where)
            slot = _slot_of(item, array, path, variables) if hook == "variables" else None
            stored.append(Stored(path, hook, key, slot or where, str(array.dtype), array.shape))
            if slot is None:
                sources[where] = array
    return Kept(tuple(stored), sources)


def _slot_of(item: Any, array: np.ndarray[Any, Any], owner: str, variables: Mapping[str, Any]) -> str | None:
    """The slot whose variable the hook stored, as it is or copied: each tensor goes into the file once."""
    for path, variable in variables.items():
        if item is variable:
            return path
    for path, variable in variables.items():
        alike = tuple(variable.shape) == array.shape and keras_api.storage_dtype(variable) == str(array.dtype)
        below = not owner or path.startswith(f"{owner}/")
        if alike and below and values.array_of(variable).tobytes() == array.tobytes():
            return path
    return None


def _given(path: str, value: Any, configs: bool) -> Iterator[tuple[str, str, Any]]:
    """Hook, key and value of all that one object stores."""
    if isinstance(value, keras_api.LOOKUPS):
        yield from (("vocabulary", key, item) for key, item in _vocabulary_of(value, path, configs).items())
    if not configs and isinstance(value, DISCRETIZATION) and value.bin_boundaries is not None:
        yield "vocabulary", "bin_boundaries", np.asarray(value.bin_boundaries, "float64")
    if _has(value, VARIABLES):
        store: dict[str, Any] = {}
        _run(path, value, VARIABLES[0], store, ModelError)
        for key, item in store.items():
            if not isinstance(key, str):
                raise _refused(path, value, VARIABLES[0], "string keys", repr(key))
            yield "variables", key, item
    if _has(value, ASSETS):
        with tempfile.TemporaryDirectory(prefix="tiedio-") as folder:
            _run(path, value, ASSETS[0], folder, ModelError)
            for name, content in _files(folder, path, value):
                yield "assets", name, content


def _has(value: Any, hooks: tuple[str, str]) -> bool:
    return any(keras_api.overrides(value, hook, *keras_api.NO_HOOKS_NEEDED) for hook in hooks if hasattr(value, hook))


def has_hooks(value: Any) -> bool:
    """Whether the class of an object has saving hooks of its own, which have to run."""
    return _has(value, VARIABLES) or _has(value, ASSETS)


def within_reach(objects: Sequence[tuple[str, Any]]) -> dict[int, Any]:
    """The variables, by identity, that hooks of these objects may touch: all that an object with hooks reaches."""
    reached: dict[int, Any] = {}
    for _, value in objects:
        if has_hooks(value):
            reached |= {id(slot.variable): slot.variable for slot in slots.walk({None: value}).slots}
            if isinstance(value, keras_api.BaseOptimizer):
                known = (*value.variables, *keras_api.optimizer_variables(value))
                reached |= {id(variable): variable for variable in known}
    return reached


def _run(path: str, value: Any, hook: str, argument: Any, error_class: type[TiedioError]) -> None:
    """Calls a hook of user code, which may raise anything; what it raises is told with the place."""
    act = getattr(value, hook, None)
    if act is None:
        return
    try:
        act(argument)
    except Exception as error:
        raise error_class(
            f"{hook} of {type(value).__name__} fails",
            path=path or "the model",
            expected=f"{hook} to run on the object as it is",
            found=f"{type(error).__name__}: {one_line(error)}",
            remedy=f"mend {hook}",
        ) from error


def _refused(path: str, value: Any, hook: str, expected: str, found: str) -> ModelError:
    return ModelError(
        f"{hook} of {type(value).__name__} gives what cannot be stored",
        path=path or "the model",
        expected=expected,
        found=found,
        remedy=f"mend {hook}, or hold the state in variables or in get_config",
    )


def _as_array(item: Any, where: str) -> np.ndarray[Any, Any]:
    known = slots.is_variable(item) or arrays.array_kind(item) is not None
    try:
        array = values.array_of(item) if known else np.array(item)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    except (TypeError, ValueError, AttributeError, OverflowError):  # a sparse tensor, lists of several lengths
        array = np.empty((), dtype=object)
    if str(array.dtype) not in SAFETENSORS_CODES:
        raise ModelError(
            "a saving hook stored a value that is no array of numbers",
            path=where,
            expected=", ".join(SAFETENSORS_CODES),
            found=str(array.dtype),
            remedy="write text and the like to a file in save_assets",
        )
    return array


def _files(folder: str, path: str, value: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Relative path and bytes of all files in a folder, sorted."""
    names_so_far = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        if not folders and not names and parent != folder:
            raise _refused(path, value, ASSETS[0], "folders with files in them", "an empty folder")
        for name in sorted(names):
            full = os.path.join(parent, name)
            relative = os.path.relpath(full, folder).replace(os.sep, "/")
            if os.path.islink(full) or not os.path.isfile(full) or not naming.is_file_path(relative):
                raise _refused(path, value, ASSETS[0], "regular files with plain names", repr(relative))
            names_so_far.append(relative)
            with open(full, "rb") as file:
                yield relative, np.frombuffer(file.read(), np.uint8)
    for problem in naming.collisions(names_so_far):
        raise _refused(path, value, ASSETS[0], "files with names that differ on every system", problem)


# --- vocabularies -----------------------------------------------------------------------------------


def goes_with_vocabulary(owner: Any, name: str) -> bool:
    """Whether an attribute is saved with a vocabulary, or is a count that only goes on inside `adapt`."""
    return name in ("idf_weights", "num_documents") and isinstance(owner, keras_api.LOOKUPS)


def _vocabulary_of(layer: Any, path: str, configs: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Tokens and weights of a lookup layer, if its config does not bring them back."""
    try:
        tokens = _plain_tokens(layer.get_vocabulary(include_special_tokens=False))
    except UnicodeDecodeError as error:
        raise ModelError(
            "the vocabulary has a token that is no text in the layer's encoding",
            path=path or "the model",
            expected=f"tokens in {layer.encoding}",
            found=one_line(error),
            remedy="adapt the layer to text in its encoding",
        ) from error
    given = layer.input_vocabulary
    said = given is not None and _is_said(given, tokens, layer, layer.input_idf_weights)
    told = keras_api.reads_vocabulary(layer) or said
    if not tokens or (told and configs):
        return {}
    text = json.dumps(tokens, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    found = {"tokens": np.frombuffer(text, np.uint8)}
    if layer.output_mode == "tf_idf":
        found["idf_weights"] = np.asarray(layer.idf_weights_const)
    return found


def _plain_tokens(tokens: Any) -> list[Any]:
    return [token.item() if isinstance(token, np.generic) else token for token in tokens]


def _is_said(given: Any, tokens: list[Any], layer: Any, weights: Any) -> bool:
    """Whether the vocabulary is the one that the constructor was given, with or without its special tokens."""
    said = _plain_tokens(np.asarray(given).tolist())
    special = layer.get_vocabulary()[: len(layer.get_vocabulary()) - len(tokens)]
    if weights is not None:
        kept = np.asarray(layer.idf_weights_const)
        front = len(special)
        return said == tokens and kept[front : front + len(tokens)].tolist() == np.asarray(weights, kept.dtype).tolist()
    return said in (tokens, [*_plain_tokens(special), *tokens])


def vocabularies_of(
    stored: Sequence[Stored], number: Mapping[str, int], read: Read, allowance: Allowance
) -> dict[int, dict[str, np.ndarray[Any, Any]]]:
    """The vocabularies of a file, by the number of their layers.

    Args:
        stored: the records of the file.
        number: the number of each object, by its path.
        read: gives the value of a record.
        allowance: what their texts may take once they are parsed.

    Raises:
        LimitError: if they would take more.
    """
    found: dict[int, dict[str, np.ndarray[Any, Any]]] = {}
    for one in stored:
        if one.hook == "vocabulary":
            found.setdefault(number[one.object], {})[one.key] = read(one)
            if one.key == "tokens":
                text = found[number[one.object]][one.key].tobytes().decode("utf-8", "replace")
                allowance.take_text(text, f"the vocabulary of {one.object!r}")
    return found


def restore_vocabulary(layer: Any, found: Mapping[str, np.ndarray[Any, Any]], path: str) -> None:
    """Gives a lookup layer, which was made just now, the vocabulary of the file.

    Raises:
        MismatchError: if the layer is none, or does not take the vocabulary.
    """
    try:
        tokens = _tokens_of(found)
        weights = found.get("idf_weights")
        front = len(layer.get_vocabulary()) if weights is not None else 0
        if weights is None:
            layer.set_vocabulary(tokens)
        else:
            layer.set_vocabulary(tokens, idf_weights=weights[front : front + len(tokens)])
            layer.idf_weights.assign(weights)
            layer.idf_weights_const = layer.idf_weights.value()
    except Exception as error:  # of the backend's tables, too, which have errors of their own
        raise MismatchError(
            "the vocabulary of the file does not fit the layer",
            path=path,
            expected="a lookup layer that takes these tokens",
            found=f"{type(layer).__name__}: {one_line(error)}",
            remedy="load with the versions of code and Keras that the model was saved with",
        ) from error


def _tokens_of(found: Mapping[str, np.ndarray[Any, Any]]) -> list[Any]:
    """The tokens that a file stores; Keras would take a text for the name of another file, and read that."""
    tokens = json.loads(found["tokens"].tobytes().decode("utf-8"))
    if not (isinstance(tokens, list) and all(type(token) in (str, int, float) for token in tokens)):
        raise ValueError(f"{repr(tokens)[:60]} is no list of tokens")
    return tokens


def holds_vocabulary(layer: Any, found: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Whether a living layer has the vocabulary, or the boundaries, of the file already."""
    if "bin_boundaries" in found and isinstance(layer, DISCRETIZATION):
        boundaries = layer.bin_boundaries
        return boundaries is not None and np.array_equal(np.asarray(boundaries, "float64"), found["bin_boundaries"])
    if not isinstance(layer, keras_api.LOOKUPS) or "tokens" not in found:
        return False
    tokens = _plain_tokens(layer.get_vocabulary(include_special_tokens=False))
    weights = found.get("idf_weights")
    try:
        stored = _tokens_of(found)
    except (ValueError, RecursionError):
        return False
    return tokens == stored and (weights is None or np.asarray(layer.idf_weights_const).tobytes() == weights.tobytes())


def is_told(layer: Any, config: Mapping[str, Any]) -> bool:
    """Whether a living layer has the vocabulary, or the boundaries, that a config in the file tells of, if any."""
    if isinstance(layer, DISCRETIZATION) and config.get("bin_boundaries") is not None:
        boundaries = layer.bin_boundaries
        told = np.asarray(config["bin_boundaries"], "float64")
        return boundaries is not None and np.array_equal(np.asarray(boundaries, "float64"), told)
    if not isinstance(layer, keras_api.LOOKUPS) or config.get("vocabulary") is None:
        return True
    tokens = _plain_tokens(layer.get_vocabulary(include_special_tokens=False))
    return _is_said(config["vocabulary"], tokens, layer, config.get("idf_weights"))


# --- loading ----------------------------------------------------------------------------------------


def restore(objects: Sequence[tuple[str, Any]], stored: Sequence[Stored], read: Read) -> bool:
    """Runs the loading hooks of rebuilt objects, whose variables have their values already.

    Args:
        objects: path and object, of layers and optimizers alike.
        stored: the records of the file.
        read: gives the value of a record.

    Returns:
        Whether any hook ran.

    Raises:
        MismatchError: if the file has values for a hook that the class does not have.
        RebuildError: if a hook fails.
    """
    by_object: dict[str, list[Stored]] = {}
    for one in stored:
        if one.hook != "vocabulary":
            by_object.setdefault(one.object, []).append(one)
    ran = False
    for path, value in objects:
        mine = by_object.pop(path, [])
        if has_hooks(value):
            _load(path, value, mine, read)
            ran = True
        elif mine:
            by_object[path] = mine
            break
    for path in by_object:
        raise MismatchError(
            "the file has values for a saving hook that the class does not have",
            path=path or "the model",
            expected="a class with the hooks that it was saved with",
            found=", ".join(sorted({one.hook for one in by_object[path]})),
            remedy="load with the code that the model was saved with",
        )
    return ran


def _load(path: str, value: Any, mine: Sequence[Stored], read: Read) -> None:
    if _has(value, VARIABLES):
        store = {one.key: read(one) for one in mine if one.hook == "variables"}
        _run(path, value, VARIABLES[1], store, RebuildError)
    if _has(value, ASSETS):
        with tempfile.TemporaryDirectory(prefix="tiedio-") as folder:
            for one in mine:
                if one.hook == "assets":
                    target = os.path.join(folder, *one.key.split("/"))
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "xb") as file:
                        file.write(read(one).tobytes())
            _run(path, value, ASSETS[1], folder, RebuildError)
