"""What Keras's own configs leave out of losses and metrics, such as `Huber`'s delta: recorded beside the config."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

from tiedio import configs, keras_api, plain, slots
from tiedio.errors import ModelError, one_line

# The dtype of a loss is in no config.
_POLICY = "_dtype_policy"


def describe(arguments: Any, where: str) -> list[Any]:
    """The plain attributes of Keras's losses and metrics that their own config would not bring back.

    Args:
        arguments: the arguments of `compile`.
        where: the model, for errors.

    Returns:
        A list of `[place, {attribute: encoded value}]`.
    """
    found = []
    for place, value in parts(arguments):
        if type(value).__module__.partition(".")[0] != "keras":
            continue  # of custom classes the proof tells the user, who can mend get_config
        revived = _revived(value, where)
        before, after = plain.attributes_to_compare(value), plain.attributes_to_compare(revived)
        lost = {
            name: configs.encode(keras_api.stamped(lambda item=item: item), {}, where)  # type: ignore[misc]
            for name, item in sorted(before.items())
            if _is_argument(value, name)
            and configs.is_data(item)
            and name in after
            and not plain.equal(item, after[name], plain.Identities())
        }
        policy = before.get(_POLICY)
        if policy is not None and not plain.equal(policy, after.get(_POLICY), plain.Identities()):
            lost[_POLICY] = configs.encode(keras_api.stamped(lambda item=policy: item), {}, where)  # type: ignore[misc]
        if lost:
            found.append([place, lost])
    return found


def restore(arguments: Any, record: list[Any]) -> None:
    """Sets what `describe` noted on the revived arguments; only attributes that are there and plain."""
    objects = {tuple(place): value for place, value in parts(arguments)}
    for place, lost in record:
        value = objects.get(tuple(place))
        known = {} if value is None else vars(value)
        known = {name: item for name, item in known.items() if configs.is_data(item)}
        for name in lost.keys() & known.keys():
            setattr(value, name, configs.decode(lost[name], {}))
        if isinstance(value, keras_api.Loss) and _POLICY in lost:
            policy = configs.decode(lost[_POLICY], {})
            setattr(value, _POLICY, keras_api.deserialize(policy, {}, True))


def _is_argument(value: Any, name: str) -> bool:
    """Whether an attribute holds what the constructor was given; anything else a metric makes as it goes."""
    return name == "_fn_kwargs" or name.lstrip("_") in keras_api.constructor_parameters(type(value))


def _revived(value: Any, where: str) -> Any:
    """What Keras's own config makes of a loss or metric."""
    try:
        return keras_api.deserialize(keras_api.stamped(lambda: value), {}, True)
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            "Keras cannot read its own config of a loss or metric",
            path=slots.join(where, "@compile"),
            expected="a loss or metric whose config its constructor takes",
            found=f"{type(value).__name__}: {one_line(error)}",
            remedy="leave the argument out, or pass optimizer=False and compile afterwards",
        ) from error


def compare(live: Any, rebuilt: Any, where: str) -> None:
    """Raises `ModelError` if a loss or metric of the rebuild differs in a plain attribute."""
    theirs = {tuple(place): value for place, value in parts(rebuilt)}
    for place, value in parts(live):
        plain.compare_objects(slots.join(where, "/".join(map(str, place))), value, theirs.get(tuple(place)))
    functions = dict(_leaves(rebuilt))
    for at, value in _leaves(live):
        if isinstance(value, types.FunctionType) and not plain.equal(value, functions.get(at), plain.Identities()):
            raise ModelError(
                "a loss or metric would come back as another function",
                path=slots.join(where, "/".join(map(str, at))),
                expected=f"{value.__module__}.{value.__name__}",
                found=_title(functions.get(at)),
                remedy="pass the function that Keras exports as a loss or metric, or a registered one that calls this",
            )


def _title(value: Any) -> str:
    return f"{value.__module__}.{value.__name__}" if isinstance(value, types.FunctionType) else repr(value)[:80]


def parts(arguments: Any) -> Iterator[tuple[list[Any], Any]]:
    """Losses and metrics inside the arguments of `compile`, each with its place."""
    for place, value in _leaves(arguments):
        if isinstance(value, (keras_api.Loss, keras_api.Metric)):
            yield list(place), value


def _leaves(arguments: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What is no container inside the arguments of `compile`, each with its place."""
    stack: list[tuple[tuple[Any, ...], Any]] = [((), arguments)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend(((*place, key), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            stack.extend(((*place, i), item) for i, item in enumerate(value))
        else:
            yield place, value
