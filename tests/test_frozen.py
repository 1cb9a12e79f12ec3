"""`tiedio.find_frozen_ties`: what looks like a tie in a graph, and is a number of the moment when it was made."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import FrozenTie
from tiedio.errors import ModelError

ops = keras.ops


def frozen(model: Any) -> list[tuple[str, str, str]]:
    return [(one.place, one.variable, one.how) for one in tiedio.find_frozen_ties(model)]


def embedded(**options: Any) -> tuple[Any, Any, Any]:
    """Tokens, an embedding, and what it makes of them."""
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding = keras.layers.Embedding(7, 3, name="embedding", **options)
    return tokens, embedding, embedding(tokens)


def language_model() -> Any:
    tokens, embedding, hidden = embedded()
    return keras.Model(tokens, ops.matmul(hidden, ops.transpose(embedding.embeddings)), name="language_model")


# --- what is found --------------------------------------------------------------------------------------


def test_a_transposed_embedding_matrix_is_found() -> None:
    assert frozen(language_model()) == [("@node/matmul/0/args/1", "embedding/embeddings", "transposed")]


def test_it_is_a_constant_indeed_which_does_not_train() -> None:
    model = language_model()
    constant = next(node for node in model.operations[-1]._inbound_nodes).arguments.args[1]
    before = np.array(constant)
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 5)), np.ones((2, 5, 7)))
    assert np.array_equal(constant, before)
    assert not np.array_equal(ops.transpose(model.get_layer("embedding").embeddings), constant)


def test_after_training_nothing_can_be_found() -> None:
    model = language_model()
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 5)), np.ones((2, 5, 7)))
    assert frozen(model) == []


@pytest.mark.parametrize("read", [np.array, lambda v: v + 0, ops.copy], ids=["array", "sum", "copy"])
def test_an_equal_copy_is_found(read: Any) -> None:
    inputs, dense = keras.Input((3,)), keras.layers.Dense(3, name="dense")
    hidden = dense(inputs)
    model = keras.Model(inputs, ops.matmul(hidden, read(dense.kernel)))
    assert frozen(model) == [("@node/matmul/0/args/1", "dense/kernel", "equal")]


def test_a_reshaped_copy_is_found() -> None:
    inputs, dense = keras.Input((4,)), keras.layers.Dense(6, name="dense")
    hidden = dense(inputs)
    model = keras.Model(inputs, ops.matmul(hidden, ops.reshape(dense.kernel, (6, 4))))
    assert frozen(model) == [("@node/matmul/0/args/1", "dense/kernel", "reshaped")]


def test_any_permutation_of_axes_is_found() -> None:
    images, conv = keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3, name="first")
    hidden = conv(images)
    turned = ops.transpose(conv.kernel, (1, 0, 3, 2))
    model = keras.Model(images, ops.conv(hidden, turned))
    assert frozen(model) == [("@node/conv/0/args/1", "first/kernel", "transposed")]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_it_is_found_in_every_floating_dtype(dtype: str) -> None:
    tokens, embedding, hidden = embedded(dtype=dtype)
    model = keras.Model(tokens, ops.matmul(hidden, ops.transpose(embedding.embeddings)))
    assert [how for _, _, how in frozen(model)] == ["transposed"]


class Joined(keras.layers.Layer):
    def call(self, x: Any, parts: Any) -> Any:
        return ops.matmul(ops.matmul(x, parts["all"][0]), parts["all"][1])


def test_a_keyword_argument_is_found() -> None:
    tokens, embedding, hidden = embedded()
    parts = {"all": [ops.transpose(embedding.embeddings), np.eye(7)]}
    model = keras.Model(tokens, Joined(name="joined")(hidden, parts=parts))
    assert frozen(model) == [("@node/joined/0/kwargs/parts/all/0", "embedding/embeddings", "transposed")]


def test_a_constant_nested_in_lists_and_dicts_is_found() -> None:
    tokens, embedding, hidden = embedded()
    parts = {"all": [ops.transpose(embedding.embeddings), ops.copy(embedding.embeddings)]}
    model = keras.Model(tokens, Joined(name="joined")(hidden, parts))
    assert frozen(model) == [
        ("@node/joined/0/args/1/all/0", "embedding/embeddings", "transposed"),
        ("@node/joined/0/args/1/all/1", "embedding/embeddings", "equal"),
    ]


def test_a_constant_in_a_list_argument_of_an_op_is_found() -> None:
    inputs, dense = keras.Input((3,), batch_size=3), keras.layers.Dense(3, name="dense")
    hidden = dense(inputs)
    model = keras.Model(inputs, ops.concatenate([hidden, ops.transpose(dense.kernel)], axis=0))
    assert frozen(model) == [("@node/concatenate/0/args/0/1", "dense/kernel", "transposed")]


def test_a_constant_in_a_model_inside_another_is_found() -> None:
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, ops.tanh(language_model()(inputs)))
    found = frozen(model)
    assert found == [
        ("language_model/@node/matmul/0/args/1", "language_model/embedding/embeddings", "transposed"),
    ]


def test_several_roots_are_looked_at_together_and_a_call_in_both_is_told_once() -> None:
    tokens, embedding, hidden = embedded()
    encoder = keras.Model(tokens, hidden, name="encoder")
    logits = ops.matmul(hidden, ops.transpose(embedding.embeddings))
    short = keras.Model(tokens, logits, name="short")
    long = keras.Model(tokens, ops.softmax(logits), name="long")
    roots = {"encoder": encoder, "short": short, "long": long}
    assert frozen(roots) == [("short/@node/matmul/0/args/1", "encoder/embedding/embeddings", "transposed")]
    inputs = keras.Input((3,))
    decoder = keras.Model(inputs, ops.matmul(inputs, ops.transpose(embedding.embeddings)), name="decoder")
    assert frozen(decoder) == []
    assert len(frozen({"encoder": encoder, "decoder": decoder})) == 1


def test_of_two_variables_the_one_that_is_most_alike_is_told() -> None:
    inputs = keras.Input((2,))
    wide, square = keras.layers.Dense(2, use_bias=False, name="a"), keras.layers.Dense(2, use_bias=False, name="b")
    hidden = square(wide(inputs))
    square.kernel.assign(ops.transpose(wide.kernel))
    model = keras.Model(inputs, ops.matmul(hidden, ops.copy(square.kernel)))
    assert frozen(model) == [("@node/matmul/0/args/1", "b/kernel", "equal")]


# --- what is not ----------------------------------------------------------------------------------------


def test_a_variable_itself_stays_alive_and_is_not_told() -> None:
    tokens, embedding, hidden = embedded()
    logits = ops.einsum("btd,vd->btv", hidden, embedding.embeddings)
    model = keras.Model(tokens, logits)
    assert frozen(model) == []
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 5)), np.ones((2, 5, 7)))
    expected = np.einsum("btd,vd->btv", embedding(np.ones((2, 5))), embedding.embeddings)
    assert np.allclose(model(np.ones((2, 5))), expected)


def test_a_variable_of_the_backend_is_alive_too_and_is_not_told() -> None:
    inputs, dense = keras.Input((3,)), keras.layers.Dense(3, name="dense")
    hidden = dense(inputs)
    assert frozen(keras.Model(inputs, ops.matmul(hidden, ops.convert_to_tensor(dense.kernel)))) == []


@pytest.mark.parametrize(
    ("make", "initializer"),
    [
        (lambda kernel: np.zeros((3, 3), "float32"), "zeros"),
        (lambda kernel: np.ones((3, 3), "float32"), "ones"),
        (lambda kernel: np.array(kernel) + 1, "glorot_uniform"),
        (lambda kernel: np.array(kernel).astype("float64"), "glorot_uniform"),
        (lambda kernel: np.array(kernel)[::-1], "glorot_uniform"),
        (lambda kernel: np.float32(0.5), "glorot_uniform"),
        (lambda kernel: 0.5, "glorot_uniform"),
    ],
    ids=["zeros", "ones", "other values", "another dtype", "rows turned round", "a number of NumPy", "a number"],
)
def test_what_has_another_value_or_tells_nothing_is_not_told(make: Any, initializer: str) -> None:
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(3, kernel_initializer=initializer, bias_initializer="zeros", name="dense")
    hidden = dense(inputs)
    assert frozen(keras.Model(inputs, ops.multiply(hidden, make(dense.kernel)))) == []


def test_one_number_is_not_told() -> None:
    inputs, dense = keras.Input((1,)), keras.layers.Dense(1, name="dense")
    hidden = dense(inputs)
    assert frozen(keras.Model(inputs, ops.multiply(hidden, np.array(dense.kernel)))) == []


def test_whole_numbers_never_train_and_are_not_told() -> None:
    class Positions(keras.layers.Layer):
        def build(self, _shape: Any) -> None:
            self.ids = keras.Variable(np.arange(3), dtype="int32", trainable=False)

        def call(self, x: Any) -> Any:
            return x

    inputs, layer = keras.Input((3,), dtype="int32"), Positions()
    hidden = layer(inputs)
    assert frozen(keras.Model(inputs, ops.add(hidden, np.arange(3, dtype="int32")))) == []


def test_a_model_without_a_graph_has_none() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    assert frozen(model) == []
    with pytest.raises(ModelError, match="not a model"):
        tiedio.find_frozen_ties(keras.layers.Dense(1))


# --- what is said ---------------------------------------------------------------------------------------


def test_the_text_says_where_what_and_what_to_do() -> None:
    [found] = tiedio.find_frozen_ties(language_model())
    assert isinstance(found, FrozenTie)
    text = str(found)
    assert text.startswith("@node/matmul/0/args/1: a constant in the graph has the value of a variable")
    assert "expected 'embedding/embeddings' itself, found its value, transposed. Remedy: pass the variable" in text
    assert "tiedio.tie(target, source, view=tiedio.transpose())" in text
    with pytest.raises(AttributeError):
        found.how = "equal"  # type: ignore[misc]


def test_save_warns_once_and_saves(tmp_path: Path) -> None:
    tokens, embedding, hidden = embedded()
    hidden = ops.matmul(hidden, ops.transpose(embedding.embeddings))
    model = keras.Model(tokens, ops.matmul(hidden, ops.copy(embedding.embeddings)))
    with pytest.warns(UserWarning, match="will not train with it") as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert text.startswith("@node/matmul/0/args/1, @node/matmul_1/0/args/1: ")
    assert "found its value, transposed, equal. Remedy: " in text
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert np.array_equal(loaded(np.ones((2, 5))), model(np.ones((2, 5))))


def test_where_warnings_are_errors_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="will not train"):
            tiedio.save(language_model(), path)
    assert path.read_bytes() == b"old"


def test_many_places_are_counted(tmp_path: Path) -> None:
    tokens, embedding, hidden = embedded()
    for _ in range(4):
        hidden = ops.matmul(hidden, ops.transpose(embedding.embeddings))
        hidden = ops.matmul(hidden, ops.copy(embedding.embeddings))
    with pytest.warns(UserWarning, match="and 3 more: a constant"):
        tiedio.save(keras.Model(tokens, hidden), tmp_path / "model.safetensors")


def test_save_says_nothing_of_a_constant_that_is_like_no_variable(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.multiply(keras.layers.Dense(3)(inputs), np.arange(3, dtype="float32")))
    tiedio.save(model, tmp_path / "model.safetensors")
