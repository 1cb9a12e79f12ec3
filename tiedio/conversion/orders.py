"""Values that a format gives by their order alone, while names beside them say that the order is another one."""

from __future__ import annotations

from collections.abc import Sequence


def swapped(theirs: Sequence[str], mine: Sequence[str]) -> str:
    """Where names say that places were exchanged; other names (a model made later counts on) say nothing.

    Args:
        theirs: the names in the file, in its order.
        mine: the names of what takes the values, in the same order.

    Returns:
        The names that are in each other's places, or nothing.

    Example:
        >>> from tiedio.conversion.orders import swapped
        >>> swapped(["a", "b", "c"], ["a", "c", "b"])
        'c → b → c'
        >>> swapped(["dense_1", "dense_2"], ["dense", "dense_1"])
        ''
    """
    if len(set(theirs)) != len(theirs) or len(set(mine)) != len(mine):
        return ""
    goes_to = {one: other for one, other in zip(theirs, mine, strict=False) if one != other}
    while goes_to:
        start, name = goes_to.popitem()
        path = [start, name]
        while name in goes_to:
            name = goes_to.pop(name)
            path.append(name)
        if name == start:
            return " → ".join(path[:8])
    return ""


def last_parts(names: Sequence[str], count: int) -> list[str]:
    """The ends of paths of variables, without what TensorFlow writes behind them."""
    return ["/".join(name.partition(":")[0].split("/")[-count:]) for name in names]
