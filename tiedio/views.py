"""The closed set of views: weights that are computed from another weight, by a name and integers.

Pure data: a view knows shapes and integers, and nothing of Keras.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiedio.errors import ViewError

NAMES = ("transpose", "reshape", "slice")
_MOST_AXES = 64
"""NumPy has no more; a forged file cannot ask for the product of a million sizes."""


@dataclass(frozen=True, slots=True)
class View:
    """How a weight is computed from another one; made by `tiedio.transpose`, `tiedio.reshape` and `tiedio.slice`.

    Args:
        name: `"transpose"`, `"reshape"` or `"slice"`.
        axes: of a transpose: which axis of the source each axis is; empty for all in reverse.
        shape: of a reshape: the shape, one size of which may be -1; of a slice: how many along each axis, -1 for
            all that are left.
        start: of a slice: the first index along each axis.

    Example:
        >>> import tiedio
        >>> view = tiedio.transpose()
        >>> view.result_shape((2, 3))
        (3, 2)
    """

    name: str
    axes: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    start: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"tiedio.{self}"

    def __str__(self) -> str:
        if self.name == "slice":
            return f"slice({list(self.start)}, {list(self.shape)})"
        numbers = self.axes if self.name == "transpose" else self.shape
        return f"{self.name}({list(numbers) if numbers or self.name == 'reshape' else ''})"

    def resolved(self, source: Sequence[int]) -> View:
        """The same view with every integer told: no -1, no axes left out.

        Args:
            source: shape of the weight that it is computed from.

        Raises:
            ViewError: if the integers do not fit that shape.
        """
        shape = tuple(map(int, source))
        longest = max(map(len, (shape, self.axes, self.shape, self.start)))
        if longest > _MOST_AXES:  # a text of all of them could be as long as a file
            raise ViewError(
                "the view has too many axes",
                path=self.name[:20],
                expected=f"at most {_MOST_AXES} axes",
                found=str(longest),
                remedy="give the view integers that fit the source",
            )
        if self.name == "transpose":
            axes = self.axes or tuple(reversed(range(len(shape))))
            axes = tuple(axis + len(shape) if axis < 0 else axis for axis in axes)
            self._require(sorted(axes) == list(range(len(shape))), "each axis of the source once", axes, shape)
            return View("transpose", axes=axes)
        if self.name == "reshape":
            free = [n for n, size in enumerate(self.shape) if size == -1]
            told = math.prod(size for size in self.shape if size != -1)
            count = math.prod(shape)
            known = len(free) <= 1 and all(size >= -1 for size in self.shape)
            self._require(known, "sizes, one of which may be -1", self.shape, shape)
            if free:
                self._require(told > 0 and count % told == 0, f"{count} elements", self.shape, shape)
            sizes = tuple(count // told if size == -1 else size for size in self.shape)
            self._require(math.prod(sizes) == count, f"{count} elements", sizes, shape)
            return View("reshape", shape=sizes)
        self._require(self.name == "slice", f"one of {', '.join(NAMES)}", self.name, shape)
        fits = len(self.start) == len(self.shape) == len(shape)
        self._require(fits, f"{len(shape)} starts and sizes", f"{len(self.start)} and {len(self.shape)}", shape)
        sizes = tuple(s - a if n == -1 else n for a, n, s in zip(self.start, self.shape, shape, strict=True))
        inside = all(a >= 0 and n >= 0 and a + n <= s for a, n, s in zip(self.start, sizes, shape, strict=True))
        self._require(inside, "a part of the source", str(self), shape)
        return View("slice", start=self.start, shape=sizes)

    def _require(self, holds: bool, expected: str, found: Any, source: tuple[int, ...]) -> None:
        if not holds:
            raise ViewError(
                f"the view does not fit a weight of shape {source}",
                path=str(self),
                expected=expected,
                found=str(found),
                remedy="give the view integers that fit the source",
            )

    def result_shape(self, source: Sequence[int]) -> tuple[int, ...]:
        """The shape of the weight.

        Args:
            source: shape of the weight that it is computed from.

        Raises:
            ViewError: if the view does not fit it.
        """
        view = self.resolved(source)
        return tuple(int(source[axis]) for axis in view.axes) if view.name == "transpose" else view.shape

    def is_identity(self, source: Sequence[int]) -> bool:
        """Whether the weight would be the source as it is.

        Args:
            source: shape of the weight that it is computed from.
        """
        view = self.resolved(source)
        if view.name == "transpose":
            return view.axes == tuple(range(len(view.axes)))
        return view.shape == tuple(source)

    def apply(self, array: Any) -> Any:
        """The weight's value.

        Args:
            array: the source's value, a NumPy array or anything with its methods.

        Returns:
            An array, which may share the source's memory.
        """
        view = self.resolved(array.shape)
        if view.name == "transpose":
            return array.transpose(view.axes)
        if view.name == "reshape":
            return array.reshape(view.shape)
        parts = (builtins.slice(a, a + n) for a, n in zip(view.start, view.shape, strict=True))
        return array[(*parts, ...)]  # with the dots, what has no axes stays an array

    def after(self, first: View | None, source: Sequence[int]) -> View | None:
        """This view of a weight that is a view itself, as one view of that one's source; `None` for no view at all.

        Args:
            first: how the weight in between is computed.
            source: shape of the weight that `first` is computed from.

        Raises:
            ViewError: if the two are of different kinds, which no single view says.
        """
        whole = self.resolved(source) if first is None else self._of_a_view(first.resolved(source), source)
        return None if whole.is_identity(source) else whole

    def _of_a_view(self, first: View, source: Sequence[int]) -> View:
        view = self.resolved(first.result_shape(source))
        if first.name != view.name:
            raise ViewError(
                f"a {view.name} of a weight that is a {first.name} itself cannot be one view",
                path=str(self),
                expected=f"a {first.name}, or a weight that is no view",
                found=f"{self} of {first}",
                remedy="tie to the weight that the other view is computed from",
            )
        if view.name == "transpose":
            return View("transpose", axes=tuple(first.axes[axis] for axis in view.axes))
        if view.name == "reshape":
            return view
        start = tuple(a + b for a, b in zip(first.start, view.start, strict=True))
        return View("slice", start=start, shape=view.shape)


def transpose(axes: Sequence[int] | None = None) -> View:
    """A view: the source with its axes in another order, as `keras.ops.transpose`.

    Args:
        axes: which axis of the source each axis is; `None` for all in reverse.

    Returns:
        A `View` for `tiedio.tie`.

    Raises:
        ViewError: if an axis is no integer.

    Example:
        >>> import tiedio
        >>> tiedio.transpose((2, 0, 1)).result_shape((4, 5, 6))
        (6, 4, 5)
    """
    return View("transpose", axes=() if axes is None else _integers("transpose", axes))


def reshape(newshape: Sequence[int] | int) -> View:
    """A view: the source in another shape, as `keras.ops.reshape`.

    Args:
        newshape: the shape; one size may be -1.

    Returns:
        A `View` for `tiedio.tie`.

    Raises:
        ViewError: if a size is no integer.

    Example:
        >>> import tiedio
        >>> tiedio.reshape((2, -1)).result_shape((4, 3))
        (2, 6)
    """
    return View("reshape", shape=_integers("reshape", newshape))


def slice(start_indices: Sequence[int] | int, shape: Sequence[int] | int) -> View:  # noqa: A001 - as keras.ops.slice
    """A view: a part of the source, as `keras.ops.slice`.

    Args:
        start_indices: the first index along each axis.
        shape: how many along each axis; -1 for all that are left.

    Returns:
        A `View` for `tiedio.tie`.

    Raises:
        ViewError: if a number is no integer.

    Example:
        >>> import tiedio
        >>> tiedio.slice((0, 2), (4, -1)).result_shape((4, 5))
        (4, 3)
    """
    return View("slice", start=_integers("slice", start_indices), shape=_integers("slice", shape))


def _integers(name: str, value: Any) -> tuple[int, ...]:
    items = [value] if isinstance(value, int) else value
    try:
        numbers = tuple(items)
        whole = all(int(n) == n and not isinstance(n, bool) for n in numbers)
    except (TypeError, ValueError, OverflowError):
        numbers, whole = (), False
    if not whole:
        raise ViewError(
            "a view is made of integers",
            path=name,
            expected="integers",
            found=repr(value)[:60],
            remedy=f"pass a tuple of integers to tiedio.{name}",
        )
    return tuple(map(int, numbers))
