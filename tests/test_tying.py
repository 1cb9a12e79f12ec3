"""`tie` and `untie` on living layers: what is one weight afterwards, and everything around it that has to follow."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tiedio
from tiedio.errors import TiedLayerError, TieError, ViewError
from tiedio.testing import assert_round_trip

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


def paths(variables: Any) -> list[str]:
    """Layer and name of each variable: Keras puts the name of a `Sequential` before it."""
    return ["/".join(variable.path.split("/")[-2:]) for variable in variables]


def raw(*variables: Any) -> list[bytes]:
    return [np.array(variable).tobytes() for variable in variables]


def chain(*inside: Any, width: int = 6, compiled: bool = True) -> keras.Sequential:
    model = keras.Sequential([keras.Input((width,)), *inside])
    if compiled:
        model.compile("adam", "mse")
    return model


def twins(**options: Any) -> tuple[keras.Sequential, layers.Dense, layers.Dense]:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b", **options)
    return chain(a, b), a, b


def autoencoder() -> tuple[keras.Sequential, layers.Dense, layers.Dense]:
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    return chain(encoder, decoder), encoder, decoder


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


# --- views ------------------------------------------------------------------------------------------------------


def test_a_view_is_no_weight_and_follows_its_source() -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    assert paths(model.weights) == ["encoder/kernel", "encoder/bias", "decoder/bias"]
    assert model.count_params() == 18 + 3 + 6
    assert [value.shape for value in decoder.get_weights()] == [(6,)]
    model.fit(X, X, epochs=2, verbose=0)
    assert np.array_equal(np.array(decoder.kernel), np.array(encoder.kernel).T)
    assert_round_trip(model, X, X)


def test_an_output_layer_over_an_embedding_is_a_view() -> None:
    tokens, output = layers.Embedding(7, 4, name="tokens"), layers.Dense(7, name="output")
    model = keras.Sequential([keras.Input((3,), dtype="int32"), tokens, output])
    tiedio.tie(output, tokens, weights={"kernel": "embeddings"}, view=tiedio.transpose())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids = np.arange(6).reshape(2, 3)
    model.fit(ids, ids, verbose=0)
    assert np.array_equal(np.array(output.kernel), np.array(tokens.embeddings).T)
    assert_round_trip(model, ids, ids)


@pytest.mark.parametrize(
    ("view", "units"), [(tiedio.reshape((9, 4)), 4), (tiedio.slice((1, 2), (-1, 4)), 4)], ids=["reshape", "slice"]
)
def test_reshape_and_slice_come_back_from_disk(view: tiedio.View, units: int) -> None:
    a = layers.Dense(6, name="a")
    rows = view.result_shape((6, 6))[0]
    inputs, others = keras.Input((6,)), keras.Input((rows,))
    b = layers.Dense(units, name="b")
    model = keras.Model([inputs, others], [a(inputs), b(others)])
    tiedio.tie(b, a, weights=["kernel"], view=view)
    other = np.linspace(-1, 1, 4 * rows).reshape(4, rows).astype("float32")
    model.compile("sgd", ["mse", "mse"])
    model.fit([X, other], [X, other[:, :units]], verbose=0)
    assert np.array_equal(np.array(b.kernel), view.apply(np.array(a.kernel)))
    assert_round_trip(model, [X, other], [X, other[:, :units]])


def test_views_of_views_become_one_view_of_the_first_or_none() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(c, b, weights=["kernel"], view=tiedio.transpose())
    assert c.kernel is a.kernel
    tiedio.untie(c)
    tiedio.tie(c, b, weights=["kernel"])
    assert c.kernel is b.kernel
    assert c.kernel.source is a.kernel
    assert_round_trip(model, X, X)


def test_a_view_of_a_weight_that_becomes_a_view_is_one_view() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(c, b, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    assert c.kernel is a.kernel
    assert b.kernel.source is a.kernel
    assert len(model.weights) == 4


def test_views_of_two_kinds_are_refused_and_nothing_changes() -> None:
    a, b, c = layers.Dense(6, name="a"), layers.Dense(6, name="b"), layers.Dense(4, name="c")
    chain(a, b)
    c.build((None, 9))
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    kernel = c.kernel
    with pytest.raises(ViewError, match="tie to the weight that the other view is computed from"):
        tiedio.tie(c, b, weights=["kernel"], view=tiedio.reshape((9, 4)))
    assert c.kernel is kernel


def test_a_view_of_a_model_that_is_not_saved_is_refused_with_both_names(tmp_path: Path) -> None:
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    first, second = chain(encoder, width=6), chain(decoder, width=3)
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(tiedio.ModelError, match=r"decoder/kernel.*encoder/kernel"):
        tiedio.save(second, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    tiedio.save({"first": first, "second": second}, tmp_path / "model.safetensors")
    both = tiedio.load(tmp_path / "model.safetensors")
    assert both["second"].layers[0].kernel.source is both["first"].layers[0].kernel


# --- untie --------------------------------------------------------------------------------------------------------


def test_untie_gives_a_layer_weights_of_its_own_with_the_same_values() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    value = raw(a.kernel, a.bias)
    tiedio.untie(b)
    assert b.kernel is not a.kernel
    assert b.bias is not a.bias
    assert raw(b.kernel, b.bias) == value
    assert paths(b.weights) == ["b/kernel", "b/bias"]
    assert tiedio.find_ties(model) == []
    model.train_on_batch(X, X)
    assert raw(b.kernel) != raw(a.kernel)
    assert_round_trip(model, X, X)


def test_an_optimizer_goes_on_for_both_after_untie() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    model.train_on_batch(X, X)
    optimizer = model.optimizer
    tiedio.untie(b, ["kernel"])
    state = dict(zip(paths(optimizer._trainable_variables), raw(*optimizer._momentums), strict=True))
    assert sorted(state) == ["a/bias", "a/kernel", "b/kernel"]
    assert state["b/kernel"] == state["a/kernel"]
    model.fit(X, X, verbose=0)
    assert_round_trip(model, X, X)


def test_untie_makes_a_view_a_weight_in_its_place_again() -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    model.train_on_batch(X, X)
    tiedio.untie(decoder)
    assert paths(decoder.weights) == ["decoder/kernel", "decoder/bias"]
    assert np.array_equal(np.array(decoder.kernel), np.array(encoder.kernel).T)
    model.fit(X, X, verbose=0)
    assert_round_trip(model, X, X)


def test_untie_of_what_is_not_tied_is_refused() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="the weight is not tied"):
        tiedio.untie(b)
    tiedio.tie(b, a, weights=["kernel"])
    with pytest.raises(TieError, match=r"b/bias.*not tied"):
        tiedio.untie(b, ["bias"])


def test_untie_of_the_last_place_of_a_views_source_is_refused() -> None:
    _, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(TieError, match="decoder/kernel"):
        tiedio.untie(encoder)


def test_a_weight_that_a_layer_shares_with_itself_is_untied_but_once() -> None:
    class Both(layers.Layer):
        def build(self, shape: Any) -> None:
            self.first = self.second = self.add_weight(shape=(6,), name="first")

        def call(self, inputs: Any) -> Any:
            return inputs * self.first + self.second

    both = Both(name="both")
    model = chain(both)
    tiedio.untie(both)
    assert both.first is not both.second
    assert len(model.weights) == 2


# --- quantizing and LoRA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act", [lambda one: one.quantize("int8"), lambda one: one.enable_lora(2)], ids=["int8", "lora"]
)
def test_what_would_break_the_tie_is_refused_by_either_layer(act: Callable[[Any], None]) -> None:
    _, a, b = twins()
    tiedio.tie(b, a)
    for layer in (a, b):
        with pytest.raises(TiedLayerError, match="untie it first"):
            act(layer)
    assert b.kernel is a.kernel
    tiedio.untie(b)
    act(b)


def test_a_loaded_tie_is_guarded_too(tmp_path: Path) -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    with pytest.raises(TiedLayerError, match="one weight in a/kernel and b/kernel"):
        loaded.get_layer("b").quantize("int8")


def test_quantizing_a_model_leaves_tied_layers_out_with_a_warning() -> None:
    a, b, free = (layers.Dense(6, name=name) for name in ("a", "b", "free"))
    model = chain(a, b, free)
    tiedio.tie(b, a)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.quantize("int8")
    told = [str(one.message) for one in caught if "shared weight" in str(one.message)]
    assert len(told) == 2
    assert (a.quantization_mode, b.quantization_mode, free.quantization_mode) == (None, None, "int8")
    assert b.kernel is a.kernel


def test_float8_keeps_the_tie() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    b.quantize("float8")
    assert b.kernel is a.kernel
    assert np.isfinite(model(X)).all()


def test_a_layer_that_has_lora_is_not_tied() -> None:
    _, a, b = twins()
    b.enable_lora(2)
    with pytest.raises(TieError, match="LoRA of rank 2"):
        tiedio.tie(b, a)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_shapes_that_differ_are_told_with_the_view_that_would_do() -> None:
    _, encoder, decoder = autoencoder()
    with pytest.raises(TieError) as error:
        tiedio.tie(decoder, encoder, weights=["kernel"])
    assert "decoder/kernel: cannot tie to 'encoder/kernel'" in str(error.value)
    assert (error.value.expected, error.value.found) == ((3, 6), (6, 3))
    assert error.value.remedy == "pass view=tiedio.transpose()"


def test_dtypes_that_differ_are_refused() -> None:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b", dtype="float64")
    for layer in (a, b):
        layer.build((None, 6))
    with pytest.raises(TieError, match=r"dtypes differ.*float64.*float32"):
        tiedio.tie(b, a)


def test_a_layer_without_weights_yet_is_refused() -> None:
    a = layers.Dense(6, name="a")
    with pytest.raises(TieError, match="a: the layer is not built"):
        tiedio.tie(a, layers.Dense(6))


def test_a_layer_is_not_tied_to_itself() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="cannot be tied to itself"):
        tiedio.tie(a, a)
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(TieError, match="cannot be a view of itself"):
        tiedio.tie(a, b, weights=["kernel"])


def test_a_weight_that_is_not_there_is_told_with_those_that_are() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="b/weight: there is no weight of this name; expected one of kernel, bias"):
        tiedio.tie(b, a, weights=["weight"])
    with pytest.raises(TieError, match=r"pass \['kernel'\]"):
        tiedio.tie(b, a, weights="kernel")


def test_layers_with_nothing_alike_are_refused() -> None:
    a, norm = layers.Dense(6, name="a"), layers.BatchNormalization(name="norm")
    chain(a, norm)
    with pytest.raises(TieError, match="no weight of the same name and shape"):
        tiedio.tie(norm, a)


def test_a_view_needs_names_and_has_to_be_one() -> None:
    _, encoder, decoder = autoencoder()
    with pytest.raises(TieError, match="a view needs the names"):
        tiedio.tie(decoder, encoder, view=tiedio.transpose())
    with pytest.raises(TieError, match="this is no view"):
        tiedio.tie(decoder, encoder, weights=["kernel"], view=np.transpose)  # type: ignore[arg-type]
    with pytest.raises(ViewError, match="each axis of the source once"):
        tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose((0, 0)))


def test_what_is_no_layer_is_refused() -> None:
    _, a, _ = twins()
    with pytest.raises(TieError, match="target: this is no layer"):
        tiedio.tie(a.kernel, a)


def test_layouts_that_differ_are_refused() -> None:
    _, a, b = twins()
    b.kernel._layout = "rows"
    with pytest.raises(TieError, match="distribution layouts differ"):
        tiedio.tie(b, a)


def test_an_optimizer_that_cannot_go_on_leaves_everything_as_it_was() -> None:
    class Odd(keras.optimizers.SGD):
        def get_config(self) -> dict[str, Any]:
            return {"nothing": True}

    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    model = chain(a, b, compiled=False)
    model.compile(Odd(), "mse")
    model.train_on_batch(X, X)
    before, weights = raw(*model.variables), list(model.weights)
    built_for = list(model.optimizer._trainable_variables)
    with pytest.raises(TieError, match="the optimizer cannot be built again"):
        tiedio.tie(b, a)
    assert raw(*model.variables) == before
    assert all(one is other for one, other in zip(model.weights, weights, strict=True))
    assert all(one is other for one, other in zip(model.optimizer._trainable_variables, built_for, strict=True))
    model.train_on_batch(X, X)


def test_a_model_that_nobody_holds_any_more_is_not_in_the_way() -> None:
    model, a, b = twins()
    dead = chain(a, b)
    dead.train_on_batch(X, X)
    del dead
    gc.collect()
    tiedio.tie(b, a)
    model.train_on_batch(X, X)
    assert b.kernel is a.kernel


def test_a_view_that_was_set_by_hand_is_refused_by_save(tmp_path: Path) -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    other = layers.Dense(6, name="other")
    third = keras.Sequential([keras.Input((3,)), other])
    other._tracker.unlock()
    other._kernel = decoder._kernel
    with pytest.raises(tiedio.ModelError, match="set by hand"):
        tiedio.save({"model": model, "third": third}, tmp_path / "model.safetensors")
    tiedio.untie(other)
    tiedio.tie(other, encoder, weights=["kernel"], view=tiedio.transpose())
    tiedio.save({"model": model, "third": third}, tmp_path / "model.safetensors")
