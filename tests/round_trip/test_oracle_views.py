"""The oracle catches whatever a wrong loader could do to a view."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.keras_api import live_view
from tiedio.testing import assert_round_trip
from tiedio.testing.zoo_base import floats, trained

if TYPE_CHECKING:
    from .conftest import Twins

layers = keras.layers
X, Y = floats(5, 4), floats(5, 4, seed=1)


def build_with_views() -> Any:
    """A model in which two kernels are one view of the first one, and another kernel has the first one's values."""
    inputs = keras.Input((4,), name="inputs")
    names = {"one": 8, "turned": 4, "other": 8, "also": 4, "last": 4}
    made = {name: layers.Dense(units, activation="tanh", name=name) for name, units in names.items()}
    x = inputs
    for layer in made.values():
        x = layer(x)
    model = keras.Model(inputs, x, name="model")
    for name in ("turned", "also"):
        tiedio.tie(made[name], made["one"], weights=["kernel"], view=tiedio.transpose())
    made["other"].kernel.assign(made["one"].kernel)
    return trained(model, X, Y, optimizer=keras.optimizers.SGD(0.0))


def _tie_again(m: Any, source: str, view: tiedio.View, *names: str) -> None:
    for name in names:
        tiedio.untie(m.get_layer(name), models=m)
    for name in names:
        tiedio.tie(m.get_layer(name), m.get_layer(source), weights=["kernel"], view=view, models=m)


def _turn_a_view_into_a_weight(m: Any) -> None:
    tiedio.untie(m.get_layer("turned"), models=m)


def _turn_both_views_into_weights(m: Any) -> None:
    for name in ("turned", "also"):
        tiedio.untie(m.get_layer(name), models=m)


def _turn_a_weight_into_a_view(m: Any) -> None:
    view = tiedio.slice((0, 0), (4, 4))
    tiedio.tie(m.get_layer("last"), m.get_layer("one"), weights=["kernel"], view=view, models=m)


def _take_another_view(m: Any) -> None:
    _tie_again(m, "one", tiedio.reshape((8, 4)), "turned", "also")


def _take_another_view_in_one_place(m: Any) -> None:
    _tie_again(m, "one", tiedio.reshape((8, 4)), "turned")


def _take_another_source(m: Any) -> None:
    _tie_again(m, "other", tiedio.transpose(), "turned", "also")  # of the same values


def _take_another_source_in_one_place(m: Any) -> None:
    _tie_again(m, "other", tiedio.transpose(), "turned")


def _lose_a_view(m: Any) -> None:
    layer = m.get_layer("turned")
    layer.__dict__["_kernel"] = keras.ops.convert_to_tensor(np.array(layer.kernel))  # its value, once and for all


def _lose_both_views(m: Any) -> None:
    for name in ("turned", "also"):
        layer = m.get_layer(name)
        layer.__dict__["_kernel"] = keras.ops.convert_to_tensor(np.array(layer.kernel))


def _view_a_twin_of_the_source(m: Any) -> None:
    # The same view of a variable that nothing else holds: values agree until the next step.
    for name in ("turned", "also"):
        layer = m.get_layer(name)
        layer.__dict__["_kernel"] = live_view(keras.Variable(m.get_layer("one").kernel), layer.kernel.view)


VIEW_FAULTS: dict[Callable[[Any], None], str] = {
    _turn_a_view_into_a_weight: r"ties, .*layers\[2\]._kernel is a view in the original, but a variable in the loaded",
    _turn_both_views_into_weights: r"ties, .*layers\[4\]._kernel is a view in the original, but a variable",
    _turn_a_weight_into_a_view: r"ties, .*layers\[5\]._kernel is a variable in the original, but a view in the loaded",
    _take_another_view: r"ties, .*is the view transpose\(\[1, 0\]\) in the original, but reshape\(\[8, 4\]\)",
    _take_another_view_in_one_place: "ties, .*are one view in the original, but two in the loaded model",
    _take_another_source: r"ties, .*_kernel and .*_kernel.source are one variable in the original, but two",
    _take_another_source_in_one_place: "ties, .*are one view in the original, but two in the loaded model",
    _lose_a_view: r"only the original has anything at model.layers\[2\]._kernel",
    _lose_both_views: r"only the original has anything at model.layers\[2\]._kernel",
    _view_a_twin_of_the_source: r"ties, .*_kernel and .*_kernel.source are one variable in the original, but two",
}


@pytest.mark.parametrize("fault", VIEW_FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_a_fault_planted_in_a_view_is_caught(fault: Callable[[Any], None], twins: Twins, tmp_path: Path) -> None:
    twins.build, twins.tamper = build_with_views, fault
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError) as caught:
        assert_round_trip(build_with_views(), inputs=X, targets=Y, folder=tmp_path)
    message = str(caught.value).replace("\n", " ")
    assert re.search(VIEW_FAULTS[fault], message), message


def test_a_right_loader_of_views_is_accepted(twins: Twins, tmp_path: Path) -> None:
    twins.build = build_with_views
    keras.utils.clear_session(free_memory=False)
    assert_round_trip(build_with_views(), inputs=X, targets=Y, folder=tmp_path)
