"""Does a model survive being saved and loaded? An answer that shares no code with the rest of the library.

The oracle walks the saved and the loaded model side by side, through `vars()`, lists, tuples and dicts, and
demands that whatever is one object on one side is one object on the other. It knows nothing of slots, ties or
manifests.
"""

from __future__ import annotations

import base64
import contextlib
import json
import marshal
import re
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from safetensors import safe_open

import tiedio
from tiedio.testing.data import call, step, traced_anew, usable_inputs, usable_targets
from tiedio.testing.pairing import Pairing, lent, pair

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

_OF_A_HOOK = re.compile("(^|/)@(own_variables|assets|vocabulary)/")
SECOND = "second round trip: "


def __tracebackhide__(excinfo: Any) -> bool:  # noqa: N807 - pytest looks for it among a frame's globals
    return excinfo is not None and bool(excinfo.errisinstance(AssertionError))


def assert_round_trip(
    model: Any,
    inputs: Any = None,
    targets: Any = None,
    *,
    training: bool = True,
    folder: str | os.PathLike[str] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    second: bool = True,
) -> Any:
    """Assert that a model survives `tiedio.save` and `tiedio.load`, and a second round trip, whole.

    What has to agree, each a part that the error names when it does not: the ties (which places hold one
    variable), the shared objects, the objects (class, name, dtype policy), the compile configuration, the
    optimizer's state by variable, the flags of variables, the values bit for bit, the orders of weights, the
    outputs, and the next step of training; all of it also after a second round trip; and the file bytes:
    saving twice, and saving the loaded model, has to give the same file, in which every variable stands once.

    The model makes one training step (or, where it does not train, one call with `training=True`) and is put
    back to the values that it had; an optimizer or a metric that had no variables before keeps those that the
    step has made. Nothing of this uses the code by which `tiedio` itself finds ties.

    Args:
        model: a built `keras.Model`, or a dict of them by name, as for `tiedio.save`.
        inputs: what the model is called with: one argument, or `Arguments`; by name for a dict of models.
            If `None`, they are made from the shapes and dtypes of the model's inputs; where the model does not
            say what it takes, or cannot be called on it, a warning says that outputs and next step were not
            compared.
        targets: what `train_on_batch` takes with the inputs; by name for a dict of models, of which those
            that are not named do not make a step. If `None`, a compiled model is trained towards made numbers
            that its loss takes; where there are none, a warning says so.
        training: whether to compare the next training step: of each model that is compiled, or, if there are targets,
            that they are for. Where no step is made, results of a call with `training=True` are compared instead.
        folder: an existing folder for the files that are written; one that is removed again if `None`.
        custom_objects: as for `tiedio.load`.
        safe_mode: as for `tiedio.load`.
        second: whether to load a second time, from the file that the loaded model is saved to. Without it, that
            file is still compared byte for byte, and the check takes half the time.

    Returns:
        The loaded model, or dict of models, after its training step.

    Raises:
        AssertionError: something is lost; the message names which part, and the places.
        ValueError: there are targets for a model that is not compiled.
        TypeError: `targets` is a truth value.
        tiedio.TiedioError: the model cannot be saved or loaded.

    Warns:
        UserWarning: outputs or the next step were not compared, because there is nothing to call the model on.

    Example:
        >>> import keras
        >>> from tiedio.testing import assert_round_trip
        >>> shared = keras.layers.Dense(2)
        >>> model = keras.Sequential([keras.Input((2,)), shared, shared])
        >>> model.compile("adam", "mse")
        >>> loaded = assert_round_trip(model)
        >>> loaded.layers[0] is loaded.layers[1]
        True
    """
    if isinstance(targets, bool):
        raise TypeError("targets are what a step trains towards, not a truth value; say training= by name")
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return _check(model, inputs, targets, training, Path(made), custom_objects, safe_mode, second)
    return _check(model, inputs, targets, training, Path(folder), custom_objects, safe_mode, second)


def _check(
    model: Any,
    inputs: Any,
    targets: Any,
    training: bool,
    folder: Path,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
    second: bool,
) -> Any:
    def load(path: Path) -> Any:
        return tiedio.load(path, custom_objects=custom_objects, safe_mode=safe_mode)

    first_file, same_file, second_file = (folder / f"{name}.safetensors" for name in ("first", "again", "second"))
    itself = pair(model, model)
    before = [_raw(v) for v in itself.firsts("variable")]
    tiedio.save(model, first_file)
    _assert_untouched(itself, before)
    if second:
        tiedio.save(model, same_file, check=False)  # checked a moment ago, and the check must not be seen in the file
        _assert_same_bytes(first_file, same_file, "saving the same model twice")
    _assert_each_stored_once(itself, first_file)

    loaded = load(first_file)
    _assert_same_state(pair(model, loaded), "after the first load")
    copies = {"the loaded model": loaded}
    if second:
        tiedio.save(loaded, second_file)
        _assert_same_bytes(first_file, second_file, "saving the loaded model")
        copies["the model loaded twice"] = again = load(second_file)
        _assert_same_state(pair(model, again), "after the second load", SECOND)
    else:
        tiedio.save(loaded, second_file, check=False)
        _assert_same_bytes(first_file, second_file, "saving the loaded model")

    state = [(variable, np.array(_numpy(variable))) for variable in itself.firsts("variable")]
    made = inputs is None
    inputs = usable_inputs(model) if made else inputs
    if inputs is None:
        return loaded
    if training and targets is None:
        training, targets = usable_targets(model, inputs)
    _put_back(state)  # a layer with dropout draws, and counts, also outside training
    _assert_same_results(model, copies, "outputs", lambda m: call(m, inputs, training=False))
    if training:
        with traced_anew(model) if made else nullcontext():
            _assert_same_results(model, copies, "next step", lambda m: step(m, inputs, targets))
    else:
        _assert_same_results(model, copies, "outputs in training mode", lambda m: call(m, inputs, training=True))
    for who, copy in copies.items():
        part = SECOND if copy is not loaded else ""
        _assert_same_state(pair(model, copy), f"after the next training step of {who}", part, _FLAGS_BUT_PATHS)
    _put_back(state)
    return loaded


def _put_back(state: Iterable[tuple[Any, np.ndarray[Any, Any]]]) -> None:
    for variable, value in state:
        variable.assign(value)


def _assert_same_state(
    found: Pairing, when: str, before: str = "", flags: Mapping[str, Callable[[Any], Any]] | None = None
) -> None:
    """Everything but outputs and steps; a lost tie makes places disappear as well, so they come last."""
    for part, faults in (
        ("shared objects", iter(found.objects)),
        ("ties", iter([*found.ties, *lent(found)])),
        ("shared objects", iter(found.others)),
        ("objects", _object_faults(found)),
        ("compile configuration", _compile_faults(found)),
        ("optimizer", _optimizer_faults(found)),
        ("values", _value_faults(found)),
        ("flags", _variable_faults(found, flags or _FLAGS)),
        ("orders", _order_faults(found)),
    ):
        _raise_if_any(before + part, when, faults)


def _raise_if_any(part: str, when: str, faults: Iterator[str]) -> None:
    listed = list(faults)
    if listed:
        more = [f"... and {len(listed) - 12} more"] if len(listed) > 12 else []
        raise AssertionError("\n  ".join([f"{part}, {when}:", *listed[:12], *more]))


def _object_faults(found: Pairing) -> Iterator[str]:
    for a, b, place in found.items("layer"):
        sides: dict[str, tuple[Any, Any]] = {"class": (type(a), type(b)), "name": (a.name, b.name)}
        if isinstance(a, keras.layers.Layer) and isinstance(b, keras.layers.Layer):
            sides["trainable"] = (a.trainable, b.trainable)
            sides["built"] = (a.built, b.built)
            sides["path"] = (a.path, b.path)
            sides["dtype policy"] = (a.dtype_policy.name, b.dtype_policy.name)
        yield from _differing(place, sides)


def _compile_faults(found: Pairing) -> Iterator[str]:
    for a, b, place in found.items("layer"):
        if isinstance(a, keras.Model) and isinstance(b, keras.Model):
            sides = {"compiled": (a.compiled, b.compiled)}
            if a.compiled and b.compiled:
                sides["compile config"] = (_compile_config(a), _compile_config(b))
                sides["noted compile config"] = (_plain(a.get_compile_config()), _plain(b.get_compile_config()))
            yield from _differing(place, sides)


def _compile_config(model: Any) -> Any:
    """What the model compiles with now; Keras notes an optimizer before it wraps it for mixed precision."""
    optimizer = model.optimizer
    now = None if optimizer is None else keras.saving.serialize_keras_object(optimizer)
    return _plain({**model.get_compile_config(), "optimizer": now})


def _differing(place: str, sides: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for what, (was, is_now) in sides.items():
        if was != is_now and isinstance(was, dict) and isinstance(is_now, dict):
            yield from (f"{place}: {line}" for line in _unlike(was, is_now, what))
        elif was != is_now:
            yield f"{place}: {what} was {was!r} and is {is_now!r}"


def _plain(config: Any) -> Any:
    """A config in a form that compares: marshalled code of one function differs from time to time."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            code = marshal.loads(base64.b64decode(config["config"]["value"][0]))
            return [code.co_code, repr(code.co_consts), code.co_names, config["config"]["value"][1:]]
        return {key: _plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [type(config).__name__, *map(_plain, config)]
    return repr(config)


def _variable_faults(found: Pairing, looks: Mapping[str, Callable[[Any], Any]]) -> Iterator[str]:
    for a, b, place in found.items("variable"):
        for what, look in looks.items():
            was, is_now = look(a), look(b)
            if was != is_now:
                sides = "" if what == "value" else f": was {was!r} and is {is_now!r}"
                yield f"{place}: {what} differs{sides}"


def _value_faults(found: Pairing) -> Iterator[str]:
    yield from _variable_faults(found, _VALUES)
    for a, b, place in found.items("view"):
        if _whole(a.value) != _whole(b.value):
            yield f"{place}: the value of the view differs"
    for a, b, place in found.items("constant"):
        if _raw(a) != _raw(b) or tuple(a.shape) != tuple(b.shape):
            yield f"{place}: the constant differs"


def _order_faults(found: Pairing) -> Iterator[str]:
    for a, b, place in found.items("layer"):
        if not isinstance(a, keras.layers.Layer):
            continue
        for what in ("weights", "trainable_variables", "non_trainable_variables", "variables"):
            was, is_now = getattr(a, what), getattr(b, what)
            if len(was) != len(is_now):
                yield f"{place}: {what} had {len(was)} variables and has {len(is_now)}"
            for index, (left, right) in enumerate(zip(was, is_now, strict=False)):
                if found.partner("variable", left) is not right:
                    yield f"{place}: {what}[{index}] is not what it was ({left.path}, now {right.path})"
        for index, (left, right) in enumerate(zip(a.get_weights(), b.get_weights(), strict=False)):
            if left.shape != right.shape or left.tobytes() != right.tobytes():
                yield f"{place}: get_weights()[{index}] differs"


def _optimizer_faults(found: Pairing) -> Iterator[str]:
    for a, b, place in found.items("optimizer"):
        if type(a) is not type(b) or _plain(a.get_config()) != _plain(b.get_config()):
            yield f"{place}: was {type(a).__name__} {a.get_config()}, is {type(b).__name__} {b.get_config()}"
            continue
        for what in ("iterations", "learning_rate"):
            # Several optimizers in one have no rate in common; each of them is looked at by itself.
            was, is_now = getattr(a, what, None), getattr(b, what, None)
            if (was is None) != (is_now is None) or (was is not None and _raw(was) != _raw(is_now)):
                yield f"{place}: {what} differs"
        trained = {id(v): (v, _state_of(b, index)) for index, v in enumerate(b._trainable_variables)}
        if len(trained) != len(a._trainable_variables):
            yield f"{place}: trained {len(a._trainable_variables)} variables, now {len(trained)}"
            continue
        for index, variable in enumerate(a._trainable_variables):
            partner = found.partner("variable", variable)
            here = found.place("variable", variable)
            if id(partner) not in trained:
                yield f"{place}: does not train {here} any more"
                continue
            was, is_now = _state_of(a, index), trained[id(partner)][1]
            for name in sorted(was.keys() | is_now.keys()):
                if name not in was or name not in is_now or _raw(was[name]) != _raw(is_now[name]):
                    yield f"{place}: {name} of {here} differs"


def _state_of(optimizer: Any, index: int) -> dict[str, Any]:
    """The state that an optimizer keeps for its variable number `index`: one of each list that is as long."""
    count = len(optimizer._trainable_variables)
    lists = {name: value for name, value in vars(optimizer).items() if isinstance(value, list) and len(value) == count}
    return {
        name: value[index]
        for name, value in lists.items()
        if name not in ("_trainable_variables", "_variables") and isinstance(value[index], keras.Variable)
    }


def _config(thing: Any) -> Any:
    """What a regularizer or constraint is, in a form that compares."""
    if thing is None:
        return None
    config: Any = getattr(thing, "get_config", dict)()
    return type(thing).__name__, json.dumps(config, sort_keys=True, default=repr)


def _raw(value: Any) -> bytes:
    return np.ascontiguousarray(_numpy(value)).tobytes()


def _numpy(value: Any) -> Any:
    """As Keras makes it, but without NumPy's warning that a variable's `__array__` takes no `copy`."""
    return np.asarray(value) if isinstance(value, keras.Variable) else keras.ops.convert_to_numpy(value)


def _whole(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    shape = tuple(np.shape(value))
    if keras.ops.is_tensor(value):
        value = keras.ops.convert_to_numpy(keras.ops.reshape(value, (-1,)))  # NumPy takes no scalar in bfloat16
    array = np.asarray(value)
    return str(array.dtype), shape, array.tobytes()


_VALUES: dict[str, Callable[[Any], Any]] = {
    "dtype": lambda v: keras.backend.standardize_dtype(v.dtype),
    "shape": lambda v: tuple(v.shape),
    "value": _raw,
}
_FLAGS: dict[str, Callable[[Any], Any]] = {
    "trainable": lambda v: v.trainable,
    "regularizer": lambda v: _config(v.regularizer),
    "constraint": lambda v: _config(v.constraint),
    "autocast": lambda v: v._autocast,
    "path": lambda v: v.path,
}
# A variable that the step itself makes has a name from Keras's counter, which the first model has moved.
_FLAGS_BUT_PATHS = {what: look for what, look in _FLAGS.items() if what != "path"}


def _assert_same_results(model: Any, copies: dict[str, Any], part: str, run: Callable[[Any], Any]) -> None:
    expected = run(model)
    for who, copy in copies.items():
        found = run(copy)
        named = (SECOND if who == "the model loaded twice" else "") + part
        try:
            keras.tree.assert_same_structure(expected, found)
        except ValueError as error:
            raise AssertionError(f"{named}: {who} gives a result of another structure: {error}") from error
        pairs = zip(keras.tree.flatten_with_path(expected), keras.tree.flatten(found), strict=True)
        for (path, left), right in pairs:
            if _whole(left) != _whole(right):
                place = "".join(f"[{step!r}]" for step in path)
                raise AssertionError(f"{named}: {who} gives another result{place and ' at ' + place}")


def _assert_untouched(itself: Pairing, before: list[bytes]) -> None:
    for (variable, _, place), value in zip(itself.items("variable"), before, strict=True):
        if _raw(variable) != value:
            raise AssertionError(f"save: {place} is not what it was before saving")


def _assert_each_stored_once(itself: Pairing, path: Path) -> None:
    with safe_open(path, "numpy") as file:
        # What hooks stored beside the variables is judged by what the loaded model does with it.
        names = sorted(name for name in file.keys() if not _OF_A_HOOK.search(name))  # noqa: SIM118
    places = sorted(place for kind in ("variable", "constant") for _, _, place in itself.items(kind))
    again = len({id(value) for value in _made_by_code(itself)})
    if not len(places) - again <= len(names) <= len(places):
        raise AssertionError(
            f"file bytes: {len(names)} tensors for {len(places)} variables and constants: {names} for {places}"
        )


def _made_by_code(itself: Pairing) -> Iterator[Any]:
    """Constants in graphs that the constructor of a class of its own draws anew; the file may do without them."""
    constants = {id(value) for value in itself.firsts("constant")}
    for model in itself.firsts("layer"):
        drawn = isinstance(model, keras.Model) and not type(model).__module__.startswith("keras.")
        depths = getattr(model, "_nodes_by_depth", {}) if drawn else {}
        for node in (node for nodes in depths.values() for node in nodes):
            given = keras.tree.flatten([list(node.arguments.args), dict(node.arguments.kwargs)])
            yield from (value for value in given if id(value) in constants)


def _assert_same_bytes(first: Path, second: Path, what: str) -> None:
    if first.read_bytes() == second.read_bytes():
        return
    heads = [_header(path) for path in (first, second)]
    keys = sorted(key for key in heads[0].keys() | heads[1].keys() if heads[0].get(key) != heads[1].get(key))
    # Digests differ whenever anything does.
    told = [key for key in keys if not key.endswith("digests")] or keys
    found = [line for key in told for line in _unlike(heads[0].get(key), heads[1].get(key), key)]
    where = "\n  ".join([f"headers differ at {told}", *found[:6]]) if keys else "headers agree, data differ"
    raise AssertionError(f"file bytes: {what} gives another file: {where}")


def _unlike(was: Any, is_now: Any, at: str) -> Iterator[str]:
    """Where two documents differ, down to the value, with the names of the objects on the way."""
    if type(was) is type(is_now) is dict:
        name = f"({was['name']!r})" if isinstance(was.get("name"), str) else ""
        for key in sorted(was.keys() | is_now.keys(), key=str):
            if was.get(key) != is_now.get(key):
                yield from _unlike(was.get(key), is_now.get(key), f"{at}{name}/{key}")
    elif type(was) is type(is_now) is list and len(was) == len(is_now):
        for index, (one, other) in enumerate(zip(was, is_now, strict=True)):
            if one != other:
                yield from _unlike(one, other, f"{at}/{index}")
    elif type(was) is type(is_now) is str and was[:1] in ("{", "[") and is_now[:1] == was[:1]:
        with contextlib.suppress(ValueError):
            yield from _unlike(json.loads(was), json.loads(is_now), at)
    else:
        yield f"{at}: was {was!r:.80} and is {is_now!r:.80}"


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, with the metadata's keys beside the tensors'."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.pop("__metadata__", {})
    return header | {f"__metadata__/{key}": value for key, value in metadata.items()}
