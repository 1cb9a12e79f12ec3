"""What a value is that is not Keras's: an array, a tensor, or one of the backend's own wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tiedio import arrays


@pytest.mark.parametrize(
    ("value", "kind"),
    [(np.ones(2), "numpy"), (np.float32(1), "scalar"), (keras.ops.ones(2), "tensor"), (1.0, None), ([1], None)],
    ids=["array", "scalar", "tensor", "float", "list"],
)
def test_an_array_is_given_back_as_what_it_was(value: Any, kind: str | None) -> None:
    assert arrays.array_kind(value) == kind
    if kind is not None:
        back = arrays.as_array_kind(kind, np.asarray(value))
        assert type(back) is type(value)
        assert np.array_equal(back, value)


def test_a_symbolic_tensor_is_no_array() -> None:
    assert arrays.array_kind(keras.Input((3,))) is None


def test_a_variable_of_the_backend_is_told_from_one_of_keras() -> None:
    import tensorflow as tf

    assert arrays.is_backend_variable(tf.Variable([1.0]))
    assert not arrays.is_backend_variable(keras.Variable([1.0]))
    assert not arrays.is_backend_variable(tf.constant([1.0]))


def test_tuples_and_dicts_behind_the_backend_s_proxies_come_out() -> None:
    class Holder(keras.layers.Layer):
        pass

    holder = Holder()
    holder.pair, holder.table = (1, [2]), {1: 2}
    assert type(arrays.unwrapped(vars(holder)["pair"])) is tuple
    assert isinstance(arrays.unwrapped(vars(holder)["table"]), dict)
    assert arrays.unwrapped(holder) is holder


@pytest.mark.parametrize("container", [[1, 2], {"a": 1}, {1, 2}])
def test_a_container_is_refilled_past_what_tracks_it(container: Any) -> None:
    layer = keras.layers.Layer()
    layer.held = container
    content = type(container)(container)
    if isinstance(container, list):
        layer.held.append(5)
    else:
        layer.held.pop(*["a"][: isinstance(container, dict)])
    assert layer.held != content
    arrays.refill(layer.held, content)
    assert layer.held == content


def test_tensorflow_s_own_list_is_refilled_and_can_still_be_saved(tmp_path: Path) -> None:
    module = tf.Module()
    module.held = [tf.Variable(1.0)]
    kept = list(module.held)
    module.held.append(tf.Variable(2.0))
    arrays.refill(module.held, kept)
    assert [id(v) for v in module.held] == [id(v) for v in kept]
    tf.train.Checkpoint(module).write(str(tmp_path / "checkpoint"))
