"""An optimizer whose variables were replaced: it stays the same object, and gets state for the new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tiedio import arrays, keras_api, session, slots, values
from tiedio.errors import MismatchError, one_line
from tiedio.optimizers import find, find_slots


def remember(optimizer: Any) -> Callable[[], None]:
    """A function that makes an optimizer, and those inside it, what it is now; values of variables it leaves alone."""
    before = dict(vars(optimizer))
    contents: list[tuple[Any, Any]] = [
        (value, list(value) if isinstance(value, list) else dict(value))
        for value in before.values()
        if isinstance(value, (list, dict))
    ]
    stores = {name: list(store) for name, store in keras_api.stores(optimizer).items()}
    inner = [remember(one) for one in _inner(optimizer)]

    def put_back() -> None:
        vars(optimizer).clear()
        vars(optimizer).update(before)
        for value, content in contents:
            arrays.refill(value, content)
        for name, store in stores.items():
            keras_api.set_store(optimizer, name, store)
        for one in inner:
            one()

    return put_back


def _inner(optimizer: Any) -> Iterator[Any]:
    for value in vars(optimizer).values():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, keras_api.BaseOptimizer):
                yield one


def start_again(
    optimizer: Any,
    variables: Sequence[Any] | None,
    moved: Mapping[int, Any],
    path: str,
    instead: Mapping[int, Sequence[Any]] | None = None,
) -> None:
    """Makes a living optimizer, in place, what it was when it was new.

    Args:
        optimizer: a built optimizer.
        variables: what it is built for, or `None` to leave it unbuilt.
        moved: by identity of a variable that it was built for: the one that took its place.
        path: where the optimizer is, for errors.
        instead: by identity of a variable: those that are left out of weight decay in its place; default: `moved`.

    Raises:
        MismatchError: if no new one can be made of its config.
    """
    try:
        with session.outside_name_scopes(), session.untouched_names():
            config = optimizer.get_config()
            rate = vars(optimizer).get("_learning_rate")
            if rate is not None and not slots.is_variable(rate):
                config["learning_rate"] = rate  # a schedule or function: the very one, whatever its config says
            new = type(optimizer).from_config(config)
            old, made = ({one.path: one.value for one in find([("", "", side)])} for side in (optimizer, new))
            for place in old.keys() & made.keys():
                _take_over(old[place], made[place], instead or {key: [one] for key, one in moved.items()})
            if variables is not None:
                new.build(list(variables))
    except (TypeError, ValueError, NotImplementedError, AttributeError, KeyError) as error:
        raise MismatchError(
            "the optimizer cannot be built again for other variables",
            path=path,
            expected="an optimizer whose get_config makes it anew",
            found=f"{type(optimizer).__name__}: {one_line(error)}",
            remedy="load the weights first and compile the model afterwards, or mend get_config",
        ) from error
    same = {id(made[place]): old[place] for place in old.keys() & made.keys()}
    for place in old.keys() & made.keys():
        fresh = {name: _with(value, same) for name, value in vars(made[place]).items()}
        vars(old[place]).clear()
        vars(old[place]).update(fresh)


def forget_functions(model: Any, undo: ExitStack, *names: str) -> None:
    """Lets a model trace its functions anew: they hold variables that are no longer its own."""
    for name in names if isinstance(model, keras_api.Model) else ():
        function = getattr(model, name, None)
        if function is not None:
            undo.callback(setattr, model, name, function)
            getattr(model, f"make_{name}")(force=True)  # not `None`: a callback may load while `fit` is at work


def go_on(
    optimizer: Any,
    variables: Sequence[Any],
    moved: Mapping[int, Any],
    parted: Mapping[int, Any],
    path: str,
    undo: ExitStack,
) -> None:
    """Builds a living optimizer for other variables; it keeps its state of those that stay.

    Args:
        optimizer: a built optimizer.
        variables: what it is built for from now on.
        moved: by identity of a variable that went: the one that took its place.
        parted: by identity of a new variable: the one whose state it gets a copy of, where that is of one shape.
        path: where the optimizer is, for errors.
        undo: takes the callbacks that put everything back.

    Raises:
        MismatchError: if no new one can be made of its config.
    """
    names = {id(variable): f"v{n}" for n, variable in enumerate(keras_api.optimizer_variables(optimizer))}
    slots_before = find_slots(find([("", "", optimizer)]), names)
    state = {slot.path: (tuple(slot.variable.shape), values.remember(slot.variable)) for slot in slots_before}
    undo.callback(remember(optimizer))
    instead = {key: [one] for key, one in moved.items()}
    for copy in variables:
        if id(copy) in parted:
            source = parted[id(copy)]
            instead.setdefault(id(source), [source]).append(copy)
    start_again(optimizer, variables, moved, path, instead)
    came = {id(v): names.get(id(v)) or names.get(id(parted.get(id(v)))) or f"n{n}" for n, v in enumerate(variables)}
    for slot in find_slots(find([("", "", optimizer)]), came):
        shape, value = state.get(slot.path, (None, None))
        if shape == tuple(slot.variable.shape):
            values.put_back(slot.variable, value)


def _with(value: Any, same: Mapping[int, Any]) -> Any:
    """A value in which optimizers that stay themselves stand for their new making."""
    if isinstance(value, list) and any(id(item) in same for item in value):
        return [same.get(id(item), item) for item in value]
    return same.get(id(value), value)


def _take_over(old: Any, new: Any, instead: Mapping[int, Sequence[Any]]) -> None:
    """What no config tells: settings that were changed later, and what is excluded from weight decay."""
    for name, value in slots.own_attributes(old).items():
        if isinstance(value, (bool, int, float, str, type(None))) and name in vars(new) and name != "built":
            vars(new)[name] = value
    noted, pattern = keras_api.excluded_from_weight_decay(old, keras_api.optimizer_variables(old))
    if noted or pattern is not None:
        excluded = [one for variable in noted for one in instead.get(id(variable), [variable])]
        new.exclude_from_weight_decay(var_list=excluded, var_names=None if pattern is None else [pattern])
