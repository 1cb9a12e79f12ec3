"""A weight that is a view: it reads as a variable wherever Keras or TensorFlow takes one, and stores nothing."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tiedio
from tiedio import keras_api
from tiedio.errors import TieError

X = np.linspace(-1, 1, 20).reshape(4, 5).astype("float32")
VIEWS = {
    "transpose": tiedio.transpose(),
    "reshape": tiedio.reshape((-1, 3)),
    "slice": tiedio.slice((1, 0), (2, -1)),
}


def variable(**options: Any) -> Any:
    return keras.Variable(np.linspace(-2, 2, 12).reshape(3, 4).astype("float32"), name="matrix", **options)


def view_of(source: Any, view: tiedio.View = VIEWS["transpose"]) -> Any:
    return keras_api.live_view(source, view.resolved(tuple(source.shape)))


def raw(value: Any) -> Any:
    return np.array(ops.convert_to_numpy(value))


def untied() -> Any:
    inputs = keras.Input((5,))
    code = layers.Dense(3, activation="tanh", name="encoder")(inputs)
    return keras.Model(inputs, layers.Dense(5, name="decoder")(code))


def tied() -> Any:
    model = untied()
    tiedio.tie(model.get_layer("decoder"), model.get_layer("encoder"), weights=["kernel"], view=tiedio.transpose())
    return model


def trained() -> Any:
    model = tied()
    model.compile("adam", "mse")
    model.fit(X, X, verbose=0)
    return model


# --- the value --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_the_value_is_what_numpy_gives_of_the_source_now(name: str) -> None:
    source = variable()
    view = view_of(source, VIEWS[name])
    for _ in range(2):
        wanted = VIEWS[name].apply(raw(source))
        for found in (raw(view.value), view.numpy(), np.asarray(view), raw(view), tf.convert_to_tensor(view).numpy()):
            np.testing.assert_array_equal(found, wanted)
        source.assign(source + 1)


@pytest.mark.parametrize("name", VIEWS)
def test_shape_rank_and_dtype_are_known_without_computing_anything(name: str) -> None:
    source = variable()
    view = view_of(source, VIEWS[name])
    shape = VIEWS[name].result_shape((3, 4))
    assert (tuple(view.shape), view.ndim, view.dtype) == (shape, len(shape), "float32")
    assert isinstance(view.shape, type(source.shape))
    assert keras.backend.is_keras_tensor(view) is False
    assert isinstance(view, keras.Variable)


def test_name_path_and_flags_are_the_sources() -> None:
    with keras.name_scope("layer"):
        source = variable(trainable=False, aggregation="sum", synchronization="on_read")
    view = view_of(source)
    assert (view.name, view.path) == ("matrix", source.path)
    assert (view.trainable, view.aggregation, view.synchronization) == (False, "sum", "on_read")
    source.trainable = True
    assert view.trainable is True
    assert (view.regularizer, view.constraint, view.overwrite_with_gradient) == (None, None, False)


def test_autocast_casts_the_value_as_it_casts_the_sources() -> None:
    source = variable()
    view = view_of(source)
    with keras.src.backend.AutocastScope("bfloat16"):
        assert view.dtype == view.value.dtype == "bfloat16"
        assert keras_api.storage_dtype(view) == "float32"
    assert view.value.dtype == "float32"
    kept = view_of(variable(autocast=False))
    with keras.src.backend.AutocastScope("bfloat16"):
        assert kept.dtype == kept.value.dtype == "float32"


def test_in_a_stateless_scope_the_value_is_that_of_the_scopes_source() -> None:
    source = variable()
    view = view_of(source)
    other = np.ones((3, 4), "float32")
    with keras.StatelessScope(state_mapping=[(source, ops.convert_to_tensor(other))]):
        np.testing.assert_array_equal(raw(view.value), other.T)
        source.assign(other * 2)
        np.testing.assert_array_equal(raw(view.value), other.T * 2)
    np.testing.assert_array_equal(raw(view.value), raw(source).T)


def test_a_stateless_call_of_the_model_goes_through_the_source() -> None:
    model = tied()
    values = [variable.value * 0 for variable in model.trainable_variables]
    outputs, _ = model.stateless_call(values, [v.value for v in model.non_trainable_variables], X)
    np.testing.assert_array_equal(raw(outputs), np.zeros((4, 5)))


# --- where a variable is taken ----------------------------------------------------------------------------

OPERATORS: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "add": lambda v: v + 2,
    "radd": lambda v: 2 + v,
    "sub": lambda v: v - v,
    "rsub": lambda v: 1 - v,
    "mul": lambda v: v * v,
    "truediv": lambda v: v / 2,
    "rtruediv": lambda v: 2 / (v + 5),
    "floordiv": lambda v: v // 2,
    "mod": lambda v: v % 2,
    "pow": lambda v: v**2,
    "matmul": lambda v: v @ np.ones((3, 2), "float32"),
    "rmatmul": lambda v: v.__rmatmul__(ones(2, 4)) if isinstance(v, keras.Variable) else ones(2, 4) @ v,
    "less": lambda v: v < 0,
    "at least": lambda v: v >= 0,
    "row": lambda v: v[1],
    "part": lambda v: v[1:, ::2],
}


def ones(*shape: int) -> Any:
    return np.ones(shape, "float32")


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_give_what_they_give_of_an_array(name: str) -> None:
    source = variable()
    act = OPERATORS[name]
    np.testing.assert_allclose(raw(act(view_of(source))), act(raw(source).T), rtol=1e-6)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "ops.matmul": (lambda v: ops.matmul(ones(2, 4), v), lambda a: ones(2, 4) @ a),
    "ops.sum": (lambda v: ops.sum(v, axis=0), lambda a: a.sum(axis=0)),
    "ops.transpose": (ops.transpose, np.transpose),
    "ops.cast": (lambda v: ops.cast(v, "float64"), lambda a: a.astype("float64")),
    "ops.shape": (lambda v: np.array(ops.shape(v)), lambda a: np.array(a.shape)),
    "ops.take": (lambda v: ops.take(v, [2, 0], axis=0), lambda a: a[[2, 0]]),
    "ops.stop_gradient": (ops.stop_gradient, lambda a: a),
    "tf.matmul": (lambda v: tf.matmul(ones(2, 4), v), lambda a: ones(2, 4) @ a),
    "tf.reduce_sum": (tf.reduce_sum, np.sum),
    "tf.gather": (lambda v: tf.gather(v, [2, 0]), lambda a: a[[2, 0]]),
    "tf.nn.embedding_lookup": (lambda v: tf.nn.embedding_lookup(v, [2, 0]), lambda a: a[[2, 0]]),
    "tf.einsum": (lambda v: tf.einsum("ij->ji", v), lambda a: a.T),
}


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "tf.function"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_keras_and_tensorflow_take_it(name: str, traced: bool) -> None:
    source = variable()
    view = view_of(source)
    act, wanted = FUNCTIONS[name]

    def direct() -> Any:
        return act(view)

    call = tf.function(direct) if traced else direct
    for _ in range(2):
        np.testing.assert_allclose(raw(call()), wanted(raw(source).T), rtol=1e-6)
        source.assign(source * 3)  # a traced function reads the source's value of its own time


def test_a_tape_gives_the_source_its_gradient() -> None:
    source = variable()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.matmul(ones(2, 4), view_of(source)) * 3)
    np.testing.assert_array_equal(raw(tape.gradient(loss, source.value)), np.full((3, 4), 6.0))


# --- what is refused --------------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Any], Any]] = {
    "assigned to": lambda view: view.assign(ones(4, 3)),
    "assigned to by adding": lambda view: view.assign_add(ones(4, 3)),
    "assigned to by subtracting": lambda view: view.assign_sub(ones(4, 3)),
    "frozen": lambda view: setattr(view, "trainable", False),
    "regularized": lambda view: setattr(view, "regularizer", keras.regularizers.L2(0.1)),
    "constrained": lambda view: setattr(view, "constraint", keras.constraints.NonNeg()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_belongs_to_the_source_is_refused_with_the_remedy(what: str) -> None:
    source = variable()
    before = raw(source)
    with pytest.raises(TieError, match=f"a view cannot be {what.split(' by ')[0]}") as caught:
        CHANGES[what](view_of(source))
    error = caught.value
    assert error.path == source.path
    assert error.found == "its transpose([1, 0])"
    assert "the source" in str(error.remedy)
    assert "tiedio.untie" in str(error.remedy)
    np.testing.assert_array_equal(raw(source), before)
    assert (source.trainable, source.regularizer, source.constraint) == (True, None, None)


def test_setting_what_it_is_already_is_no_change() -> None:
    view = view_of(variable())
    view.trainable, view.regularizer, view.constraint = True, None, None


# --- one object, which no list of weights has --------------------------------------------------------------


def test_there_is_one_object_for_each_source_and_view() -> None:
    first, second = variable(), variable()
    assert view_of(first) is view_of(first, tiedio.transpose((1, 0)))
    assert view_of(first) is not view_of(second)
    assert view_of(first) is not view_of(first, VIEWS["reshape"])
    source, view = keras_api.viewed(view_of(first))
    assert (source is first, view) == (True, VIEWS["transpose"].resolved((3, 4)))
    source, view = keras_api.viewed(second)
    assert (source is second, view) == (True, None)


def test_it_says_of_what_it_is_a_view() -> None:
    source = variable()
    assert repr(view_of(source)) == f"<LiveView transpose([1, 0]) of {source.path}, shape=(4, 3), dtype=float32>"


def test_no_list_or_count_of_weights_has_it() -> None:
    model = tied()
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    view = decoder.kernel
    assert view.source is encoder.kernel
    for owner in (model, decoder):
        for name in ("weights", "variables", "trainable_variables", "non_trainable_variables", "trainable_weights"):
            assert not any(one is view for one in getattr(owner, name)), name
    assert (decoder.count_params(), model.count_params()) == (5, 15 + 3 + 5)
    assert [value.shape for value in model.get_weights()] == [(5, 3), (3,), (5,)]
    model.set_weights([value + 1 for value in model.get_weights()])
    np.testing.assert_array_equal(raw(view), raw(encoder.kernel).T)
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_options: lines.append(line))
    assert "Trainable params: 23" in "\n".join(lines)


def test_setting_a_layers_trainable_flag_never_reaches_the_view() -> None:
    model = tied()
    model.get_layer("decoder").trainable = False
    assert model.get_layer("encoder").kernel.trainable is True
    assert model.get_layer("decoder").bias.trainable is False


# --- files of Keras and TensorFlow ------------------------------------------------------------------------


def test_an_exported_model_gives_the_same_outputs(tmp_path: Path) -> None:
    model = trained()
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(raw(served.serve(X)), raw(model(X)), rtol=1e-5, atol=1e-7)
    assert len(served.variables) == len(model.weights)


def test_a_checkpoint_of_tensorflow_has_the_source_once_and_restores_it(tmp_path: Path) -> None:
    model = trained()
    outputs = raw(model(X))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    shapes = [shape for name, shape in tf.train.list_variables(path) if name.startswith("model/") and "opt" not in name]
    assert sorted(shape for shape in shapes if len(shape) == 2) == [[5, 3]]
    other = trained()
    other.get_layer("encoder").kernel.assign(ones(5, 3))
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(raw(other(X)), outputs)
    assert other.get_layer("decoder").kernel.source is other.get_layer("encoder").kernel


@pytest.mark.parametrize("reader", [tied, untied])
def test_weights_of_keras_load_into_a_model_with_or_without_the_view(reader: Callable[[], Any], tmp_path: Path) -> None:
    model = tied()
    model.save_weights(tmp_path / "tied.weights.h5")
    other = reader()
    other.get_layer("encoder").kernel.assign(ones(5, 3))
    other.load_weights(tmp_path / "tied.weights.h5")
    np.testing.assert_array_equal(raw(other(X)), raw(model(X)))
    np.testing.assert_array_equal(raw(other.get_layer("decoder").kernel), raw(model.get_layer("encoder").kernel).T)


def test_weights_of_an_untied_model_load_but_for_the_views_own(tmp_path: Path) -> None:
    other = untied()
    other.save_weights(tmp_path / "untied.weights.h5")
    model = tied()
    model.load_weights(tmp_path / "untied.weights.h5")
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    np.testing.assert_array_equal(raw(encoder.kernel), raw(other.get_layer("encoder").kernel))
    np.testing.assert_array_equal(raw(decoder.kernel), raw(encoder.kernel).T)
    assert not np.array_equal(raw(decoder.kernel), raw(other.get_layer("decoder").kernel))
    assert len(model.weights) == 3


def test_a_keras_file_is_written_and_loads_with_the_same_outputs(tmp_path: Path) -> None:
    model = tied()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(raw(loaded(X)), raw(model(X)))
    assert len(model.weights) == 3


@pytest.mark.parametrize(
    "again", [lambda pair: pickle.loads(pickle.dumps(pair)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_a_view_and_its_source_stay_a_pair(again: Callable[[Any], Any]) -> None:
    source = variable()
    made, view = again((source, view_of(source)))
    assert view.source is made
    assert view is view_of(made)
    np.testing.assert_array_equal(raw(view), raw(source).T)


def test_a_pickled_model_comes_back_with_the_same_outputs() -> None:
    model = tied()
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(raw(loaded(X)), raw(model(X)))
