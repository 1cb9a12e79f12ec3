"""Views as data: what they compute, which integers fit, and how two of them are one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tiedio
from tiedio.errors import TieError, ViewError
from tiedio.views import NAMES, View

SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)


def numbered(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.arange(math.prod(shape)).reshape(shape)


def factors(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of so many elements."""

    @st.composite
    def draw_shape(draw: st.DrawFn) -> tuple[int, ...]:
        left, sizes = count, []
        for _ in range(draw(st.integers(0, 3))):
            sizes.append(draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0])))
            left //= sizes[-1]
        position = draw(st.integers(0, len(sizes)))
        return (*sizes[:position], left, *sizes[position:])

    return draw_shape()


@st.composite
def transposes(draw: st.DrawFn, shape: tuple[int, ...]) -> View:
    axes = draw(st.permutations(range(len(shape))))
    negative = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    return tiedio.transpose(
        draw(st.just([axis - len(shape) * n for axis, n in zip(axes, negative, strict=True)]) | st.none())
    )


@st.composite
def reshapes(draw: st.DrawFn, shape: tuple[int, ...]) -> View:
    sizes = list(draw(factors(math.prod(shape))))
    if draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return tiedio.reshape(sizes)


@st.composite
def slices(draw: st.DrawFn, shape: tuple[int, ...]) -> View:
    start = [draw(st.integers(0, size)) for size in shape]
    count = [draw(st.integers(-1, size - first)) for first, size in zip(start, shape, strict=True)]
    return tiedio.slice(start, count)


VIEWS = {"transpose": transposes, "reshape": reshapes, "slice": slices}


def by_numpy(array: np.ndarray[Any, Any], view: View) -> np.ndarray[Any, Any]:
    """What a view says, in NumPy's own words."""
    if view.name == "transpose":
        return np.transpose(array, view.axes or None)
    if view.name == "reshape":
        return np.reshape(array, view.shape)
    stops = [size if n == -1 else a + n for a, n, size in zip(view.start, view.shape, array.shape, strict=True)]
    return array[tuple(slice(a, b) for a, b in zip(view.start, stops, strict=True))]


def same(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    return first.shape == second.shape and bool((first == second).all())


def one_view(data: st.DataObject, shape: tuple[int, ...], name: str | None = None) -> View:
    return data.draw(VIEWS[name or data.draw(st.sampled_from(NAMES))](shape))


# --- what a view computes ----------------------------------------------------------------------------------


@given(SHAPES, st.data())
def test_a_view_gives_what_numpy_gives(shape: tuple[int, ...], data: st.DataObject) -> None:
    view, array = one_view(data, shape), numbered(shape)
    expected = by_numpy(array, view)
    assert same(view.apply(array), expected)
    assert view.result_shape(shape) == expected.shape
    # The axes of a transpose count, and not whether the numbers happen to come out the same: axes of size 1 do that.
    assert same(expected, array) if view.is_identity(shape) else 1 in shape or not same(expected, array)
    assert np.shares_memory(view.apply(array), array) or expected.size == 0


@given(SHAPES, st.data())
def test_a_resolved_view_has_every_integer_told_and_computes_the_same(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    view = one_view(data, shape)
    told = view.resolved(shape)
    assert same(told.apply(numbered(shape)), view.apply(numbered(shape)))
    assert told.resolved(shape) == told
    assert min((*told.axes, *told.shape, *told.start), default=0) >= 0
    assert len(told.axes) == (len(shape) if view.name == "transpose" else 0)
    assert len(told.start) == (len(shape) if view.name == "slice" else 0)
    assert all(type(n) is int for n in (*told.axes, *told.shape, *told.start))


def test_a_view_is_resolved_for_the_shape_of_its_source() -> None:
    assert tiedio.transpose().resolved((2, 3)) == View("transpose", axes=(1, 0))
    assert tiedio.transpose((-1, 0, 1)).resolved((2, 3, 4)) == View("transpose", axes=(2, 0, 1))
    assert tiedio.transpose().resolved(()) == View("transpose")
    assert tiedio.reshape((2, -1)).resolved((4, 3)) == View("reshape", shape=(2, 6))
    assert tiedio.reshape(-1).resolved((4, 3)) == View("reshape", shape=(12,))
    assert tiedio.reshape(()).resolved((1, 1)) == View("reshape", shape=())
    assert tiedio.reshape((-1, 2)).resolved((0, 3)) == View("reshape", shape=(0, 2))
    assert tiedio.slice((0, 2), (4, -1)).resolved((4, 5)) == View("slice", start=(0, 2), shape=(4, 3))
    assert tiedio.slice(1, 2).resolved((4,)) == View("slice", start=(1,), shape=(2,))
    assert tiedio.slice((4,), (-1,)).resolved((4,)) == View("slice", start=(4,), shape=(0,))


@pytest.mark.parametrize(
    ("view", "shape", "identity"),
    [
        (tiedio.transpose(), (), True),
        (tiedio.transpose(), (3,), True),
        (tiedio.transpose(), (3, 3), False),
        (tiedio.transpose((0, 1)), (2, 3), True),
        (tiedio.transpose((1, 0)), (1, 1), False),
        (tiedio.reshape((2, -1)), (2, 3), True),
        (tiedio.reshape(-1), (2, 3), False),
        (tiedio.slice((0, 0), (2, -1)), (2, 3), True),
        (tiedio.slice((0, 0), (2, 2)), (2, 3), False),
    ],
)
def test_a_view_that_changes_nothing_is_told_from_one_that_does(
    view: View, shape: tuple[int, ...], identity: bool
) -> None:
    assert view.is_identity(shape) is identity


def test_integers_of_numpy_become_python_s() -> None:
    (size,) = tiedio.reshape([np.int64(6)]).shape  # type: ignore[list-item]
    assert type(size) is int
    assert hash(tiedio.transpose(list(np.array([1, 0])))) == hash(tiedio.transpose([1, 0]))


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (tiedio.transpose(), "transpose()"),
        (tiedio.transpose((1, 0)), "transpose([1, 0])"),
        (tiedio.reshape((2, -1)), "reshape([2, -1])"),
        (tiedio.reshape(()), "reshape([])"),
        (tiedio.slice((0, 1), (2, -1)), "slice([0, 1], [2, -1])"),
    ],
)
def test_a_view_reads_as_the_call_that_makes_it(view: View, text: str) -> None:
    assert str(view) == text


# --- a view of a view --------------------------------------------------------------------------------------


@given(SHAPES, st.sampled_from(NAMES), st.data())
def test_a_view_of_a_view_of_its_kind_is_one_view(shape: tuple[int, ...], name: str, data: st.DataObject) -> None:
    array = numbered(shape)
    first = one_view(data, shape, name)
    between = first.apply(array)
    assume(between.size)
    second = one_view(data, between.shape, name)
    whole = second.after(first, shape)
    expected = by_numpy(by_numpy(array, first), second)
    if whole is None:
        assert same(expected, array)
    else:
        assert same(whole.apply(array), expected)
        assert whole.resolved(shape) == whole
        assert not whole.is_identity(shape)


@given(SHAPES, st.data())
def test_a_view_of_no_view_is_itself_resolved_or_none(shape: tuple[int, ...], data: st.DataObject) -> None:
    view = one_view(data, shape)
    assert view.after(None, shape) == (None if view.is_identity(shape) else view.resolved(shape))


@given(st.permutations(range(4)))
def test_a_transpose_after_its_inverse_is_no_view(axes: list[int]) -> None:
    inverse = tiedio.transpose(np.argsort(axes).tolist())
    assert inverse.after(tiedio.transpose(axes), (2, 3, 4, 5)) is None
    assert tiedio.transpose().after(tiedio.transpose(), (2, 3)) is None
    assert tiedio.reshape((2, 3)).after(tiedio.reshape(-1), (2, 3)) is None


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in NAMES for b in NAMES if a != b])
def test_views_of_different_kinds_are_not_one_view(first: str, second: str) -> None:
    made = {
        "transpose": tiedio.transpose(),
        "reshape": tiedio.reshape((8, -1)),
        "slice": tiedio.slice((0, 0), (4, 2)),
    }
    with pytest.raises(ViewError) as caught:
        made[second].after(made[first], (4, 4))
    error = caught.value
    assert f"a {second} of a weight that is a {first}" in error.what
    assert error.path == str(made[second])
    assert str(error.expected).startswith(f"a {first}")
    assert str(error.found).startswith(f"{made[second]} of {first}(")
    assert "tie to the weight" in str(error.remedy)


# --- what does not fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "shape", "expected", "found"),
    [
        (tiedio.transpose((0, 1)), (2, 3, 4), "each axis of the source once", "(0, 1)"),
        (tiedio.transpose((0, 0)), (2, 3), "each axis of the source once", "(0, 0)"),
        (tiedio.transpose((0, 2)), (2, 3), "each axis of the source once", "(0, 2)"),
        (tiedio.transpose((0, -3)), (2, 3), "each axis of the source once", "(0, -1)"),
        (tiedio.reshape((2, 2)), (3, 3), "9 elements", "(2, 2)"),
        (tiedio.reshape(()), (3, 3), "9 elements", "()"),
        (tiedio.reshape((2, -1)), (3, 3), "9 elements", "(2, -1)"),
        (tiedio.reshape((0, -1)), (0, 3), "0 elements", "(0, -1)"),
        (tiedio.reshape((-1, -1)), (3, 3), "sizes, one of which may be -1", "(-1, -1)"),
        (tiedio.reshape((-2, 3)), (2, 3), "sizes, one of which may be -1", "(-2, 3)"),
        (tiedio.reshape((-3, -3)), (3, 3), "sizes, one of which may be -1", "(-3, -3)"),
        (tiedio.slice(0, 2), (3, 3), "2 starts and sizes", "1 and 1"),
        (tiedio.slice((0, 0), 2), (3, 3), "2 starts and sizes", "2 and 1"),
        (tiedio.slice((0, 0), (2, 2)), (3,), "1 starts and sizes", "2 and 2"),
        (tiedio.slice(2, 2), (3,), "a part of the source", "slice([2], [2])"),
        (tiedio.slice(-1, 1), (3,), "a part of the source", "slice([-1], [1])"),
        (tiedio.slice(0, -2), (3,), "a part of the source", "slice([0], [-2])"),
        (tiedio.slice(4, -1), (3,), "a part of the source", "slice([4], [-1])"),
        (View("conjugate"), (3,), "one of transpose, reshape, slice", "conjugate"),
    ],
)
@pytest.mark.parametrize("act", [View.resolved, View.result_shape, View.is_identity])
def test_a_view_that_does_not_fit_says_why(
    act: Callable[..., Any], view: View, shape: tuple[int, ...], expected: str, found: str
) -> None:
    with pytest.raises(ViewError) as caught:
        act(view, shape)
    error = caught.value
    assert error.what == f"the view does not fit a weight of shape {shape}"
    assert (error.path, error.expected, error.found) == (str(view), expected, found)
    assert error.remedy == "give the view integers that fit the source"
    assert isinstance(error, TieError)


def test_a_view_that_does_not_fit_computes_nothing() -> None:
    with pytest.raises(ViewError, match="9 elements"):
        tiedio.reshape((2, 2)).apply(np.ones((3, 3)))


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (View("reshape", shape=(2**62,) * 100_000), (2**62,) * 100_000),
        (View("reshape", shape=(2**62,) * 300), (3,)),
        (View("reshape", shape=(3,)), (2**62,) * 300),
        (View("slice", start=(0,) * 65, shape=(1,) * 65), (2,) * 65),
        (View("transpose", axes=tuple(range(65))), (1,) * 65),
    ],
)
def test_a_forged_view_of_many_axes_is_refused_and_not_computed(view: View, shape: tuple[int, ...]) -> None:
    with pytest.raises(ViewError) as caught:
        view.resolved(shape)
    assert caught.value.expected == "at most 64 axes"
    assert int(str(caught.value.found)) > 64


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (tiedio.transpose, "transpose"),
        (tiedio.reshape, "reshape"),
        (lambda value: tiedio.slice(value, (1, 1)), "slice"),
        (lambda value: tiedio.slice((1, 1), value), "slice"),
    ],
)
@pytest.mark.parametrize(
    "value",
    [(0.5, 1), (True, 1), ("1", "0"), "ab", (None, 1), float("nan"), (float("nan"),), (float("inf"), 1), ...],
    ids=repr,
)
def test_a_view_is_made_of_integers(make: Callable[[Any], View], name: str, value: Any) -> None:
    with pytest.raises(ViewError, match="made of integers") as caught:
        make(value)
    error = caught.value
    assert (error.path, error.expected, error.found) == (name, "integers", repr(value)[:60])
    assert error.remedy == f"pass a tuple of integers to tiedio.{name}"


@pytest.mark.parametrize(
    "view", [tiedio.transpose(), tiedio.transpose([1, 0]), tiedio.reshape((2, -1)), tiedio.slice((0, 1), (2, -1))]
)
def test_a_view_is_shown_as_the_call_that_makes_it(view: View) -> None:
    assert eval(repr(view), {"tiedio": tiedio}) == view
