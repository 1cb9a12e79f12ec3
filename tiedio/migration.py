"""An optimizer whose variables were replaced: it stays the same object, and gets state for the new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tiedio import arrays, keras_api, session, slots
from tiedio.errors import MismatchError, one_line


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


def start_again(optimizer: Any, variables: Sequence[Any] | None, moved: Mapping[int, Any], path: str) -> None:
    """Makes a living optimizer, in place, what it was when it was new.

    Args:
        optimizer: a built optimizer.
        variables: what it is built for, or `None` to leave it unbuilt.
        moved: by identity of a variable that it was built for: the one that took its place.
        path: where the optimizer is, for errors.

    Raises:
        MismatchError: if no new one can be made of its config.
    """
    noted, pattern = keras_api.excluded_from_weight_decay(optimizer, keras_api.optimizer_variables(optimizer))
    excluded = [moved.get(id(variable), variable) for variable in noted]
    try:
        with session.outside_name_scopes(), session.untouched_names():
            config = optimizer.get_config()
            rate = vars(optimizer).get("_learning_rate")
            if rate is not None and not slots.is_variable(rate):
                config["learning_rate"] = rate  # a schedule or function: the very one, whatever its config says
            new = type(optimizer).from_config(config)
            for name, value in slots.own_attributes(optimizer).items():
                if isinstance(value, (bool, int, float, str, type(None))) and name in vars(new) and name != "built":
                    vars(new)[name] = value
            if excluded or pattern is not None:
                new.exclude_from_weight_decay(var_list=excluded, var_names=None if pattern is None else [pattern])
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
    vars(optimizer).clear()
    vars(optimizer).update(vars(new))
