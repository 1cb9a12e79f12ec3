"""Whole models and weights in the HDF5 format before Keras 3, by the order of layers, as Keras 3.15.1 reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from tiedio import keras_api, strict_json, values
from tiedio.allowance import Allowance
from tiedio.container.single import as_bytes
from tiedio.conversion import written
from tiedio.conversion.hdf5 import Tree, require_every
from tiedio.conversion.orders import last_parts, swapped
from tiedio.errors import DAMAGED, FormatError, MismatchError, shown
from tiedio.structure.audit import Rules

WEIGHTS, OPTIMIZER = "model_weights", "optimizer_weights"
_TOP = "top_level_model_weights"


def config_of(tree: Tree, rules: Rules, allowance: Allowance, compile: bool) -> dict[str, Any]:
    """The configuration of the whole model in a file, in the form of Keras 3."""
    text = tree.attribute("", "model_config")
    config = written.in_form(written.parse(_text(text, tree), tree.path, allowance), rules.custom_objects)
    training = tree.attribute("", "training_config")
    if compile and training is not None:
        given = strict_json.loads(_text(training, tree), tree.path, allowance)
        if not isinstance(given, dict) or "optimizer_config" not in given:
            raise FormatError(
                "the training configuration is odd",
                path=tree.path,
                expected="an optimizer",
                found=shown(given),
                remedy=DAMAGED,
            )
        arguments = {
            key: item for key, item in given.items() if key != "optimizer_config" and key != "sample_weight_mode"
        }
        optimizer = written.in_form(given["optimizer_config"], rules.custom_objects)
        config["compile_config"] = {"optimizer": optimizer, **written.in_form(arguments, rules.custom_objects)}
    assert isinstance(config, dict)
    return config


def _text(value: Any, tree: Tree) -> str:
    if not isinstance(value, str):
        raise FormatError(
            "a configuration is no text", path=tree.path, expected="text", found=shown(value), remedy=DAMAGED
        )
    return value


def names_of(tree: Tree, group: str, name: str) -> list[str]:
    """A list of texts among the attributes of a group; a long one stands in several."""
    found = tree.attribute(group, name)
    if found is None:
        found, n = [], 0
        while (part := tree.attribute(group, f"{name}{n}")) is not None:
            found += part
            n += 1
    if not isinstance(found, list):
        raise FormatError(
            f"{name} is no list", path=tree.path, expected="a list of names", found=shown(found), remedy=DAMAGED
        )
    if len(set(found)) != len(found):
        again = next(one for one, count in Counter(found).items() if count > 1)
        raise FormatError(
            f"{name} has a name twice", path=tree.path, expected="each once", found=shown(again), remedy=DAMAGED
        )
    return found


class Legacy:
    """The values in a file, given to a model in the order of its layers."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.group = WEIGHTS if WEIGHTS in tree.groups else ""
        self._read: set[str] = set()

    @property
    def has_optimizer(self) -> bool:
        """Whether the file has any state of an optimizer."""
        return bool(self._optimizer_names())

    def give(self, model: Any) -> list[str]:
        """As `tiedio.conversion.state.State.give`."""
        filled: dict[int, tuple[Any, str]] = {}
        owners = [layer for layer in model.layers if _weights(layer)]
        named = [(name, self._paths(name)) for name in names_of(self.tree, self.group, "layer_names")]
        named = [(name, paths) for name, paths in named if paths]
        if len(named) != len(owners):
            found = f"{len(owners)} in the model: {', '.join(one.name for one in owners[:8])}"
            raise self._misfit("the file is of another number of layers with weights", f"{len(named)} layers", found)
        self._require_order([name for name, _ in named], [layer.name for layer in owners])
        for layer, (_, paths) in zip(owners, named, strict=True):
            self._fill(layer, layer.name, _weights(layer), paths, filled)
        own = _own_weights(model)
        self._fill(model, model.name, own, self._paths(_TOP) if self._holds(_TOP) else [], filled)
        mine = {id(variable): variable for variable in model.weights}
        missing = [variable.path for key, variable in mine.items() if key not in filled]
        if missing:
            raise self._misfit("the file lacks weights of the model", "a value for each", ", ".join(missing[:8]))
        optimizer = getattr(model, "optimizer", None)
        names = self._optimizer_names()
        if optimizer is not None and names and len(names) == len(list(optimizer.variables)):
            self.give_optimizer(optimizer)
        unread = sorted(self.tree.datasets.keys() - self._read)
        require_every([path for path in unread if not path.startswith(f"{OPTIMIZER}/")], self.tree.path)
        return unread

    def give_optimizer(self, optimizer: Any) -> None:
        """As `tiedio.conversion.state.State.give_optimizer`."""
        paths, variables = self._optimizer_names(), list(optimizer.variables)
        if len(paths) != len(variables):
            raise MismatchError(
                "the optimizer's state in the file is of another number of weights",
                path=self.tree.path,
                expected=f"{len(paths)} values, as in the file",
                found=f"{len(variables)} in the {type(optimizer).__name__} of the model",
                remedy="tie all that was tied, or leave the state out: optimizer=False (--drop-optimizer)",
            )
        for path, variable in zip(paths, variables, strict=True):
            self._assign(variable, path)

    def _optimizer_names(self) -> list[str]:
        if OPTIMIZER not in self.tree.groups:
            return []
        return [f"{OPTIMIZER}/{name}" for name in names_of(self.tree, OPTIMIZER, "weight_names")]

    def _holds(self, name: str) -> bool:
        return self._group(name) in self.tree.groups

    def _group(self, name: str) -> str:
        return f"{self.group}/{name}" if self.group else name

    def _paths(self, layer: str) -> list[str]:
        group = self._group(layer)
        if group not in self.tree.groups:
            raise self._misfit("the file lacks the group of a layer", "a group for each layer", shown(layer))
        return [f"{group}/{name}" for name in names_of(self.tree, group, "weight_names")]

    def _fill(
        self, owner: Any, name: str, variables: list[Any], paths: list[str], filled: dict[int, tuple[Any, str]]
    ) -> None:
        if len(variables) != len(paths):
            raise self._misfit(
                f"layer {shown(name)} has another number of weights", f"{len(paths)}", f"{len(variables)}"
            )
        for count in (1, 2):  # "kernel" and, where that stands twice, "query/kernel"
            self._require_order(last_parts(paths, count), last_parts([one.path for one in variables], count))
        for variable, path in zip(variables, paths, strict=True):
            if id(variable) in filled:
                self._require_same(filled[id(variable)][1], path)
                self._read.add(path)
            else:
                self._assign(variable, path)
                filled[id(variable)] = (variable, path)
        if variables and hasattr(owner, "finalize_state"):
            owner.finalize_state()

    def _require_order(self, theirs: list[str], mine: list[str]) -> None:
        """Raises `MismatchError` if values would go by an order that their names contradict."""
        if found := swapped(theirs, mine):
            raise self._misfit("names in the file and in the model are in another order", ", ".join(theirs[:8]), found)

    def _assign(self, variable: Any, path: str) -> None:
        spec = self.tree.datasets.get(path)
        mine = (keras_api.storage_dtype(variable), tuple(int(size) for size in variable.shape))
        if spec is None or (spec.dtype, spec.shape) != mine:
            found = "nothing" if spec is None else f"{spec.dtype} {spec.shape}"
            raise self._misfit(
                f"{variable.path} does not take what the file has", f"{mine[0]} {mine[1]}", f"{found} at {path}"
            )
        values.fill(variable, as_bytes(self.tree.read(path)).copy(), path, share=False)
        self._read.add(path)

    def _require_same(self, first: str, second: str) -> None:
        one, other = self.tree.read(first), self.tree.read(second)
        if one.dtype != other.dtype or not np.array_equal(as_bytes(one), as_bytes(other)):
            raise self._misfit("one weight of the model has two values in the file", first, second)

    def _misfit(self, what: str, expected: str, found: str) -> MismatchError:
        remedy = "pass the model that the file was saved from, with the same layers in the same order"
        return MismatchError(what, path=self.tree.path, expected=expected, found=found, remedy=remedy)


def _weights(layer: Any) -> list[Any]:
    """A layer's weights in the order of that format."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _own_weights(model: Any) -> list[Any]:
    """What the model itself holds, in no layer."""
    held = {id(variable) for variable in model.weights}
    stores = keras_api.stores(model)
    return list(_distinct(stores, held))


def _distinct(stores: Any, held: set[int]) -> Iterator[Any]:
    for name in ("trainable_variables", "non_trainable_variables"):
        for variable in stores.get(name, ()):
            if id(variable) in held:
                yield variable
