"""Other variables into slots of living models, all or none: places, trackers, orders, optimizers and functions."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tiedio import guarding, keras_api, migration, retying, slots, values
from tiedio.container.single import as_bytes
from tiedio.errors import MismatchError, ModelError, TieError
from tiedio.optimizers import held_in
from tiedio.slots import FoundSlot
from tiedio.training import optimizers_of
from tiedio.views import View


@dataclass(frozen=True, slots=True)
class Change:
    """What a slot is to hold; `parted` if it is a copy of what it held, for an optimizer's state."""

    slot: FoundSlot
    new: Any
    parted: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """The layers that are changed and the models that hold them, walked together."""

    walk: slots.Walk

    @staticmethod
    def around(layers: Sequence[Any], models: Any, held: Sequence[Any]) -> Scene:
        """The scene of some layers.

        Args:
            layers: the layers.
            models: a model or several that hold them; `None` for all living ones that hold a part of them, or one
                of the variables.
            held: variables and views in slots that are to change.
        """
        found = _living_models(layers, held) if models is None else checked_models(models)
        names: dict[str | None, Any] = {}
        for root in {id(one): one for one in (*layers, *found)}.values():
            others = (f"{root.name} ({n})" for n in itertools.count(2))
            names[next(name for name in (root.name, *itertools.islice(others, len(names))) if name not in names)] = root
        return Scene(slots.walk(names))

    def owners(self) -> dict[str, Any]:
        """Every object by path."""
        return {found.path: found.value for found in self.walk.objects}

    def slots_of(self, layer: Any, mine: Sequence[FoundSlot]) -> list[FoundSlot]:
        """The scene's slots for slots that a walk from the layer itself found."""
        path_of = self.walk.object_paths()
        inside = {found.path: found.value for found in slots.walk({None: layer}).objects}
        known = {(slot.owner, slot.steps): slot for slot in self.walk.slots}
        return [known[path_of[id(inside[slot.owner])], slot.steps] for slot in mine]

    def own_objects(self, layer: Any) -> set[str]:
        """Paths of a layer, of what it holds, and of the layers around it that are no models."""
        inside = {id(found.value) for found in slots.walk({None: layer}).objects}
        paths = {found.path for found in self.walk.objects if id(found.value) in inside}
        over = self.over({self.walk.object_paths()[id(layer)]})
        layers = [one for one in self.walk.objects if one.path in over and not isinstance(one.value, keras_api.Model)]
        return paths | {one.path for one in layers}

    def models_over(self, paths: set[str]) -> list[Any]:
        """The models that hold these objects, at any depth, or are one of them."""
        over = self.over(paths)
        return [
            found.value
            for found in self.walk.objects
            if found.path in over and isinstance(found.value, keras_api.Model)
        ]

    def over(self, paths: set[str]) -> set[str]:
        """The paths of these objects and of all that hold them, at any depth."""
        over = set(paths)
        holders = {found.path: {holder for holder, _ in found.holders} for found in self.walk.objects}
        stack = list(paths)
        while stack:
            new = holders[stack.pop()] - over
            over |= new
            stack.extend(new)
        return over


def checked_models(models: Any) -> list[Any]:
    """The models that were named.

    Raises:
        TieError: if one is none.
    """
    found = list(models) if isinstance(models, (list, tuple)) else [models]
    for model in found or [None]:
        if not isinstance(model, keras_api.Model):
            raise TieError(
                "this is not a model",
                path="models",
                expected="a keras.Model, or a list of them",
                found=type(model).__name__,
                remedy="pass the models that hold the layers, or leave models= out",
            )
    return found


def _living_models(layers: Sequence[Any], held: Sequence[Any]) -> list[Any]:
    """The living models that hold one of the layers, a part of one, or one of the variables."""
    parts = {id(part) for layer in layers for part in keras_api.flat_layers(layer)}
    wanted = {id(one) for one in held}
    # One whose constructor failed may still be about, half made.
    models = [one for one in gc.get_objects() if isinstance(one, keras_api.Model) and "_layers" in vars(one)]
    return [
        model
        for model in models
        if any(id(part) in parts for part in keras_api.flat_layers(model))
        or any(id(variable) in wanted for variable in model.variables)
    ]


def viewed_again(view: View, wanted: Any) -> Any:
    """What a view of the old variable becomes if that becomes `wanted`.

    Raises:
        ViewError: if a view of that view cannot be one view.
    """
    variable, inner = keras_api.viewed(wanted)
    whole = view.after(inner, tuple(int(size) for size in variable.shape))
    return variable if whole is None else keras_api.live_view(variable, whole)


def own_copy(slot: FoundSlot, owner: Any) -> Any:
    """A new variable with what a slot holds now, named as Keras would name it there."""
    old = slot.variable
    path = f"{owner.path}/{old.name}" if isinstance(owner, keras_api.Layer) and owner.path else old.path
    shape = tuple(int(size) for size in slot.held.shape)
    new = retying.another(old, shape, keras_api.created_trainable(old), old.name, path)
    if isinstance(owner, keras_api.Layer) and not owner.trainable:
        keras_api.set_variable_facts(new, trainable=False)  # a frozen layer's own weight is frozen
    array = values.array_of(old) if slot.view is None else slot.view.apply(values.array_of(old))
    values.fill(new, as_bytes(array).copy(), slot.path)
    return new


def exchange(scene: Scene, changes: Sequence[Change]) -> None:
    """Puts other variables into slots; on any error everything is as it was.

    Raises:
        TieError: if a slot cannot be set, or an optimizer cannot be built for other variables.
    """
    affected = scene.models_over({change.slot.owner for change in changes})
    try:
        with ExitStack() as undo:
            retying.replace(scene.owners(), [(change.slot, change.new) for change in changes], undo)
            _refuse_other_optimizers(scene, affected, changes)
            now = slots.walk(dict(scene.walk.roots))
            _let_optimizers_go_on(now, affected, changes, undo)
            for model in affected:
                migration.forget_functions(model, undo, "train_function", "test_function", "predict_function")
            undo.pop_all()
    except (MismatchError, ModelError) as error:
        raise TieError(
            error.what, path=error.path, expected=error.expected, found=error.found, remedy=error.remedy
        ) from error
    guarding.guard_ties(now)


def _refuse_other_optimizers(scene: Scene, affected: Sequence[Any], changes: Sequence[Change]) -> None:
    """Raises `TieError` if a model holds an optimizer that it does not compile with and that is built for a weight."""
    paths = scene.walk.object_paths()
    changed = {id(change.slot.variable) for change in changes}
    for model in affected:
        for place, optimizer in held_in(model):
            if any(id(v) in changed for v in keras_api.optimizer_variables(optimizer)):
                raise TieError(
                    "an optimizer in an attribute of the model is built for the weight",
                    path=slots.join(paths[id(model)], place),
                    expected="an optimizer that is not built yet, or the one that the model compiles with",
                    found=f"a {type(optimizer).__name__} that has made variables",
                    remedy="tie before the first step, or give the model new optimizers",
                )


def _let_optimizers_go_on(
    walk: slots.Walk, affected: Sequence[Any], changes: Sequence[Change], undo: ExitStack
) -> None:
    """Optimizers built for variables that went, or not for those that came, are built anew and keep their state."""
    alive = {id(group[0].variable): group[0].variable for group in walk.by_variable()}
    whole = [change for change in changes if change.slot.view is None]
    moved = {id(change.slot.variable): keras_api.viewed(change.new)[0] for change in whole if not change.parted}
    parted = {id(change.new): change.slot.variable for change in whole if change.parted}
    new = {id(change.new) for change in changes}
    for path, optimizer in optimizers_of(walk):
        models = [one for one in affected if getattr(one, "optimizer", None) is optimizer]
        if not models or not optimizer.built:
            continue
        built_for = keras_api.optimizer_variables(optimizer)
        held = {id(v) for model in models for v in model.variables}
        trained = [v for model in models for v in model.trainable_variables]
        stay = [v if id(v) in alive else moved.get(id(v)) for v in built_for]
        wanted = {id(v): v for v in stay if id(v) in held} | {id(v): v for v in trained if id(v) in new}
        # In the models' order: at the end of `fit` Keras gives averages to the trained variables by position.
        ordered = {id(v): v for v in trained if id(v) in wanted} | wanted
        if wanted.keys() != {id(v) for v in built_for}:
            migration.go_on(optimizer, list(ordered.values()), moved, parted, path, undo)
