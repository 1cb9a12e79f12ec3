"""`tie` on living layers: what is one weight afterwards, and everything around it that has to follow."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tiedio
from tests.tying_models import X, autoencoder, chain, paths, raw, twins
from tiedio.errors import TieError
from tiedio.testing import assert_round_trip

# --- which weights ----------------------------------------------------------------------------------------


def test_every_weight_of_the_same_name_and_shape_is_one() -> None:
    model, a, b = twins()
    value = raw(a.kernel, a.bias)
    tiedio.tie(b, a)
    assert b.kernel is a.kernel
    assert b.bias is a.bias
    assert raw(b.kernel, b.bias) == value
    assert [tie.slots for tie in tiedio.find_ties(model)] == [("a/kernel", "b/kernel"), ("a/bias", "b/bias")]


def test_named_weights_alone_are_tied() -> None:
    _, a, b = twins()
    tiedio.tie(b, a, weights=["kernel"])
    assert b.kernel is a.kernel
    assert b.bias is not a.bias


def test_a_weight_is_tied_to_one_of_another_name() -> None:
    embedding, dense = layers.Embedding(5, 6, name="tokens"), layers.Dense(6, name="dense")
    embedding.build((None, 2))
    dense.build((None, 5))
    tiedio.tie(dense, embedding, weights={"kernel": "embeddings"})
    assert dense.kernel is embedding.embeddings


def test_a_weight_inside_is_named_by_its_path_or_by_its_last_part() -> None:
    a, b = layers.LSTM(3, name="a"), layers.LSTM(3, name="b")
    for layer in (a, b):
        layer.build((None, 2, 4))
    tiedio.tie(b, a, weights=["cell/kernel", "bias"])
    assert b.cell.kernel is a.cell.kernel
    assert b.cell.bias is a.cell.bias
    assert b.cell.recurrent_kernel is not a.cell.recurrent_kernel


def test_layers_of_one_class_with_layers_inside_are_tied_place_by_place() -> None:
    a, b = (layers.MultiHeadAttention(2, 3, name=name) for name in "ab")
    for layer in (a, b):
        layer.build((None, 4, 6), (None, 4, 6))
    tiedio.tie(b, a)
    assert all(mine is theirs for mine, theirs in zip(b.weights, a.weights, strict=True))


def test_three_layers_share_one_weight() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(b, a)
    tiedio.tie(c, b)
    assert a.kernel is b.kernel is c.kernel
    assert len(model.weights) == 2


def test_what_holds_the_targets_weight_follows_it() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(c, b)
    tiedio.tie(b, a)
    assert a.kernel is b.kernel is c.kernel
    assert len(model.weights) == 2


def test_a_whole_model_is_tied_to_one_of_the_same_structure() -> None:
    def tower(name: str) -> keras.Model:
        inputs = keras.Input((6,))
        x = layers.BatchNormalization(name=f"{name}_norm")(layers.Dense(5, name=f"{name}_dense")(inputs))
        return keras.Model(inputs, layers.Dropout(0.5)(x), name=name)

    left, right = tower("left"), tower("right")
    inputs = keras.Input((6,))
    both = keras.Model(inputs, [left(inputs), right(inputs)])
    tiedio.tie(right, left)
    assert all(mine is theirs for mine, theirs in zip(right.weights, left.weights, strict=True))
    assert len(both.weights) == len(left.weights) == 6


def test_models_of_another_structure_are_refused() -> None:
    with pytest.raises(TieError, match="not of the same structure"):
        tiedio.tie(chain(layers.Dense(6), layers.Dense(6)), chain(layers.Dense(6), layers.LayerNormalization()))


def test_tying_what_is_tied_changes_nothing() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    model.train_on_batch(X, X)
    function = model.train_function
    tiedio.tie(b, a)
    assert model.train_function is function


# --- what belongs to the variable ---------------------------------------------------------------------------


def test_the_sources_regularizer_constraint_and_flag_are_those_of_the_tied_weight() -> None:
    a = layers.Dense(6, name="a", kernel_regularizer="l2", kernel_constraint="non_neg")
    b = layers.Dense(6, name="b", kernel_regularizer="l1")
    model = chain(a, b)
    a.kernel.trainable = False
    tiedio.tie(b, a)
    assert b.kernel.regularizer is a.kernel.regularizer
    assert isinstance(b.kernel.regularizer, keras.regularizers.L2)
    assert isinstance(b.kernel.constraint, keras.constraints.NonNeg)
    assert not b.kernel.trainable
    assert len(model.losses) == 0  # a frozen weight is not regularized
    a.kernel.trainable = True
    assert len(model.losses) == 1


def test_order_count_and_summary_show_the_weight_once_in_its_place() -> None:
    model, a, b = twins()
    tiedio.tie(b, a, weights=["kernel"])
    assert paths(b.weights) == ["a/kernel", "b/bias"]
    assert [value.shape for value in b.get_weights()] == [(6, 6), (6,)]
    assert paths(model.weights) == ["a/kernel", "a/bias", "b/bias"]
    assert model.count_params() == 36 + 6 + 6
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert any("Total params: 48" in line for line in "".join(lines).splitlines())


def test_set_weights_on_either_side_sets_both() -> None:
    _, a, b = twins()
    tiedio.tie(b, a)
    b.set_weights([np.full((6, 6), 2.0), np.zeros(6)])
    assert np.array_equal(np.array(a.kernel), np.full((6, 6), 2.0))


def test_freezing_either_layer_freezes_a_shared_weight() -> None:
    model, a, b = twins()
    tiedio.tie(b, a, weights=["kernel"])
    b.trainable = False
    assert paths(model.trainable_variables) == ["a/bias"]


def test_freezing_the_layer_of_a_view_leaves_the_source_trained() -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    decoder.trainable = False
    assert paths(model.trainable_variables) == ["encoder/kernel", "encoder/bias"]


# --- training -------------------------------------------------------------------------------------------------


def test_a_compiled_model_traces_its_functions_anew() -> None:
    model, a, b = twins()
    before = model.predict(X, verbose=0)
    model.train_on_batch(X, X)
    model.test_on_batch(X, X)
    tiedio.tie(b, a)
    assert not np.array_equal(model.predict(X, verbose=0), before)
    assert np.array_equal(model.predict(X, verbose=0), np.array(model(X)))
    model.fit(X, X, verbose=0)
    assert np.allclose(model.evaluate(X, X, verbose=0), np.mean((np.array(model(X)) - X) ** 2), rtol=1e-5)


def test_an_optimizer_that_is_built_goes_on_with_its_state() -> None:
    model, a, b = twins()
    model.train_on_batch(X, X)
    optimizer = model.optimizer
    state = dict(zip(paths(optimizer._trainable_variables), raw(*optimizer._momentums), strict=True))
    tiedio.tie(b, a, weights=["kernel"])
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 1
    assert paths(optimizer._trainable_variables) == ["a/kernel", "a/bias", "b/bias"]
    assert raw(*optimizer._momentums) == [state[path] for path in ("a/kernel", "a/bias", "b/bias")]
    assert_round_trip(model, X, X)


def test_an_optimizer_of_a_weight_that_moves_to_an_untrained_source_keeps_its_place() -> None:
    outside = layers.Dense(6, name="outside")
    outside.build((None, 6))
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    model = chain(a, b)
    model.train_on_batch(X, X)
    tiedio.tie(a, outside, weights=["kernel"])
    assert a.kernel is outside.kernel
    assert paths(model.optimizer._trainable_variables) == ["outside/kernel", "a/bias", "b/kernel", "b/bias"]
    model.train_on_batch(X, X)


def test_exclusions_from_weight_decay_follow_the_weight() -> None:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    model = chain(a, b, compiled=False)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[b.bias])
    model.compile(optimizer, "mse")
    model.train_on_batch(X, X)
    tiedio.tie(b, a, weights=["kernel"])
    kept = paths(v for v in optimizer._trainable_variables if not optimizer._use_weight_decay(v))
    assert kept == ["b/bias"]
    tiedio.untie(b, ["kernel"])
    assert paths(v for v in optimizer._trainable_variables if not optimizer._use_weight_decay(v)) == ["b/bias"]


def test_models_that_nobody_named_are_found_and_those_that_are_named_suffice() -> None:
    model, a, b = twins()
    around = chain(model)
    around.train_on_batch(X, X)
    tiedio.tie(b, a)
    assert paths(around.optimizer._trainable_variables) == ["a/kernel", "a/bias"]
    other, c, d = twins()
    other.train_on_batch(X, X)
    tiedio.tie(d, c, models=other)
    assert paths(other.optimizer._trainable_variables) == ["a/kernel", "a/bias"]
    with pytest.raises(TieError, match="models: this is not a model"):
        tiedio.tie(d, c, models=[d])


def test_a_tie_in_a_subclassed_model_is_found_and_trained() -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.blocks = layers.Dense(6), [layers.Dense(6)]

        def call(self, inputs: Any) -> Any:
            return self.blocks[0](self.first(inputs))

    model = Two()
    model.compile("sgd", "mse")
    model.train_on_batch(X, X)
    tiedio.tie(model.blocks[0], model.first)
    assert len(model.trainable_variables) == 2
    model.fit(X, X, verbose=0)
    assert model.blocks[0].kernel is model.first.kernel


def test_a_live_variable_in_a_graph_follows_its_weight() -> None:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    inputs = keras.Input((6,))
    x = b(a(inputs))
    model = keras.Model(inputs, keras.ops.matmul(x, b.kernel))
    tiedio.tie(b, a)
    assert len(model.weights) == 2
    expected = (X @ np.array(a.kernel)) @ np.array(a.kernel) @ np.array(a.kernel)
    assert np.allclose(np.array(model(X)), expected, atol=1e-5)
    assert_round_trip(model, X)


@tiedio.serializable(package="tests_tying")
class Given(layers.Layer):
    """Is given a variable, and multiplies by it."""

    def __init__(self, shared: Any, **options: Any) -> None:
        super().__init__(**options)
        self.shared = shared

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, self.shared)


def test_a_variable_that_was_a_constructors_argument_follows_and_is_untied() -> None:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    for layer in (a, b):
        layer.build((None, 6))
    given = Given(b.kernel, name="given")
    model = chain(a, b, given)
    tiedio.tie(b, a)
    assert given.shared is a.kernel
    assert_round_trip(model, X, X)
    tiedio.untie(given)
    assert given.shared is not a.kernel
    assert_round_trip(model, X, X)
