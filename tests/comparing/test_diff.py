"""`tiedio.diff`: what differs between two files is told, and what does not is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.comparing import Change
from tiedio.demo.models import language_model, two_convolutions

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "4").glob("*.safetensors"))


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., tiedio.Difference]:
    """Saves two models, and compares their files."""

    def compare(a: Any, b: Any, save: Any = tiedio.save, **options: Any) -> tiedio.Difference:
        for name, model in (("a", a), ("b", b)):
            save(model, tmp_path / f"{name}.safetensors")
        return tiedio.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", **options)

    return compare


def dense(units: int = 4, name: str | None = "model", **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,), name="x"), keras.layers.Dense(units, name="dense", **options)]
    return keras.Sequential(layers, name=name)


def told(difference: tiedio.Difference) -> list[str]:
    return [f"{one.part}: {one}" for one in difference.changes] + [str(one) for one in difference.values]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_file_does_not_differ_from_itself(path: Path) -> None:
    difference = tiedio.diff(path, path)
    assert told(difference) == []
    assert difference.identical
    assert not difference
    tensors = {variable.slots[0].path for variable in tiedio.inspect(path).variables}
    assert difference.same["tensors"] >= len(tensors)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_two_different_models_differ(path: Path) -> None:
    other = GOLDEN[(GOLDEN.index(path) + 1) % len(GOLDEN)]
    difference = tiedio.diff(path, other)
    assert difference
    assert json.loads(json.dumps(difference.to_dict(), allow_nan=False))["identical"] is False
    assert str(difference)


def test_keys_of_a_configuration_are_named_with_both_values(compared: Callable[..., tiedio.Difference]) -> None:
    difference = compared(dense(), dense(activation="relu", kernel_regularizer=keras.regularizers.L2(0.1)))
    assert Change("structure", "dense", "activation", "'linear'", "'relu'") in difference.changes
    (change,) = [one for one in difference.changes if one.what == "kernel_regularizer"]
    assert change.a == "None"
    assert change.b is not None
    assert change.b.startswith("L2(l2=0.1")
    assert {one.part for one in difference.changes} == {"structure", "variables"}
    assert difference.values == ()


def test_another_class_another_shape_and_another_dtype_are_told(compared: Callable[..., tiedio.Difference]) -> None:
    difference = compared(dense(4), dense(5, dtype="float16"))
    assert Change("variables", "dense/kernel", "shape", "3 x 4", "3 x 5") in difference.changes
    assert Change("structure", "dense", "units", "4", "5") in difference.changes
    x = keras.Input((3,), name="x")
    one = keras.Sequential([x, keras.layers.ReLU(name="f")], name="m")
    other = keras.Sequential([x, keras.layers.Softmax(name="f")], name="m")
    assert "structure: f: class is keras.layers.ReLU in A, keras.layers.Softmax in B" in told(compared(one, other))


def test_layers_that_only_one_file_has_are_told(compared: Callable[..., tiedio.Difference]) -> None:
    x = keras.Input((3,), name="x")
    one = keras.Sequential([x, keras.layers.Dense(3, name="a")], name="m")
    other = keras.Sequential([x, keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")], name="m")
    lines = told(compared(one, other))
    assert "structure: b: only in B (Dense)" in lines
    assert "variables: b/kernel: only in B (float32 3 x 2)" in lines
    lines = told(compared(other, one))
    assert "structure: b: only in A (Dense)" in lines


def test_ties_that_only_one_file_has_are_told_and_values_are_compared_by_slot(
    compared: Callable[..., tiedio.Difference],
) -> None:
    def pair(tied: bool) -> Any:
        keras.utils.set_random_seed(1)
        x = keras.Input((3,), name="x")
        a, b = keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")
        model = keras.Model(x, b(a(x)), name="m")
        b.kernel.assign(a.kernel)
        if tied:
            tiedio.tie(b, a, weights=["kernel"])
        return model

    difference = compared(pair(True), pair(False))
    assert told(difference) == ["ties: a/kernel = b/kernel: only in A"]
    assert told(compared(pair(False), pair(True))) == ["ties: a/kernel = b/kernel: only in B"]
    other = pair(False)
    other.get_layer("b").kernel.assign_add(np.full((3, 3), 0.5))
    values = compared(pair(True), other).values
    assert [one.differing for one in values] == [9], "b/kernel of B is compared with the tied one of A"
    assert compared(pair(True), pair(True)).same["ties"] == 1


def test_a_view_is_another_tie_than_the_variable_itself(compared: Callable[..., tiedio.Difference]) -> None:
    def model(view: Any) -> Any:
        keras.utils.set_random_seed(1)
        x = keras.Input((3,), name="x")
        a, b = keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")
        built = keras.Model(x, b(a(x)), name="m")
        tiedio.tie(b, a, weights=["kernel"], **({"view": view} if view else {}))
        return built

    lines = told(compared(model(None), model(tiedio.transpose())))
    assert "ties: a/kernel = b/kernel: only in A" in lines
    assert "ties: a/kernel = b/kernel as its transpose([1, 0]): only in B" in lines


def test_flags_are_told(compared: Callable[..., tiedio.Difference]) -> None:
    frozen = dense()
    frozen.get_layer("dense").trainable = False
    lines = told(compared(dense(), frozen))
    assert "structure: dense: trainable is True in A, False in B" in lines
    assert "variables: dense/kernel: trainable is True in A, False in B" in lines


def test_shared_layers_are_told(compared: Callable[..., tiedio.Difference]) -> None:
    def model(shared: bool) -> Any:
        x = keras.Input((3,), name="x")
        inner = keras.layers.Dense(3, name="d")
        first = keras.Sequential([keras.Input((3,)), inner], name="f")
        second = keras.Sequential([keras.Input((3,)), inner if shared else keras.layers.Dense(3, name="d")], name="g")
        return keras.Model(x, second(first(x)), name="m")

    difference = compared(model(True), model(False))
    assert [one.path for one in difference.changes if one.part == "shared objects"] == ["f/d"]
    assert [one.a for one in difference.changes if one.part == "shared objects"] == [
        "one object, where B has 2: f/d, g/d"
    ]
    assert compared(model(True), model(True)).same["shared objects"] == 1


def test_compile_settings_and_optimizers_are_told_or_left_out(compared: Callable[..., tiedio.Difference]) -> None:
    def model(optimizer: Any, loss: str) -> Any:
        built = dense()
        built.compile(optimizer, loss)
        built.optimizer.build(built.trainable_variables)
        return built

    one, other = model(keras.optimizers.Adam(0.1), "mse"), model(keras.optimizers.Adam(0.2), "mae")
    lines = told(compared(one, other))
    assert "compile: the model: loss is 'mse' in A, 'mae' in B" in lines
    assert any(line.startswith("compile: @optimizer: learning_rate is 0.1") for line in lines)
    assert "@optimizer/learning_rate: differs by 0.1" in lines
    assert compared(one, other, optimizer=False).identical
    other = model("sgd", "mse")
    assert "compile: @optimizer: class name is Adam in A, SGD in B" in told(compared(one, other))
    assert compared(one, other, optimizer=False).identical


def test_layers_with_automatic_names_are_matched_by_their_order(compared: Callable[..., tiedio.Difference]) -> None:
    def model() -> Any:
        keras.utils.set_random_seed(0)
        x = keras.Input((3,))
        built = keras.Model(x, keras.layers.Dense(2)(keras.layers.Dense(3)(x)))
        built.compile("adam", "mse")
        built.optimizer.build(built.trainable_variables)
        return built

    one, other = model(), model()
    assert one.layers[1].name != other.layers[1].name
    difference = compared(one, other)
    assert told(difference) == []
    assert f"matched by order: {one.layers[1].name} in A, {other.layers[1].name} in B" in difference.notes
    other.layers[1].bias.assign([0, 0, 3])
    other.optimizer._momentums[0].assign_add(np.ones((3, 3)))
    assert told(compared(one, other)) == [
        f"{one.layers[1].name}/bias: 1 of 3 differ, by at most 3, first at [2]",
        f"@optimizer/momentums/{one.layers[1].name}/kernel: 9 of 9 differ, by at most 1, first at [0, 0]",
    ]


def test_files_of_weights_are_compared_with_each_other_and_with_whole_ones(
    compared: Callable[..., tiedio.Difference], tmp_path: Path
) -> None:
    assert told(compared(dense(), dense(), tiedio.save_weights)) == []
    tiedio.save(dense(kernel_regularizer="l2"), tmp_path / "whole.safetensors")
    difference = tiedio.diff(tmp_path / "whole.safetensors", tmp_path / "a.safetensors")
    assert told(difference) == ["file: content is structure in A, weights only in B"]


def test_several_roots_are_matched_by_their_names(compared: Callable[..., tiedio.Difference]) -> None:
    one, other = {"m": dense(), "n": dense(5)}, {"n": dense(5)}
    lines = told(compared(one, other))
    assert "file: models is m, n in A, n in B" in lines
    assert "structure: m/dense: only in A (Dense)" in lines
    assert not any("n/dense" in line for line in lines)


def test_vocabularies_and_what_hooks_stored_are_compared(compared: Callable[..., tiedio.Difference]) -> None:
    def words(*vocabulary: str) -> Any:
        lookup = keras.layers.StringLookup(name="words")
        lookup.set_vocabulary(list(vocabulary))
        return keras.Sequential([keras.Input((), dtype="string", name="x"), lookup], name="m")

    assert told(compared(words("a", "b"), words("a", "b"))) == []
    assert told(compared(words("a", "b"), words("a", "c")))

    def normalized(data: Any) -> Any:
        layer = keras.layers.Normalization(name="n")
        layer.adapt(np.asarray(data, "float32"))
        return keras.Sequential([keras.Input((2,), name="x"), layer], name="m")

    assert told(compared(normalized([[1, 2], [3, 4]]), normalized([[1, 2], [3, 4]]))) == []
    assert told(compared(normalized([[1, 2], [3, 4]]), normalized([[1, 2], [3, 9]])))


def test_constants_and_graphs_are_compared(compared: Callable[..., tiedio.Difference]) -> None:
    def model(constant: float, flipped: bool = False) -> Any:
        x, y = keras.Input((2,), name="x"), keras.Input((2,), name="y")
        one, other = (y, x) if flipped else (x, y)
        return keras.Model([x, y], keras.layers.Subtract(name="s")([one, other]) + np.full(2, constant), name="m")

    assert told(compared(model(1), model(1))) == []
    assert told(compared(model(1), model(2))) == ["@constant/0: 2 of 2 differ, by at most 1, first at [0]"]
    assert any("of the graph (s), args" in line for line in told(compared(model(1), model(1, flipped=True))))


def test_versions_make_no_difference_but_settings_do(tmp_path: Path) -> None:
    golden = GOLDEN[0].parents[1]
    difference = tiedio.diff(golden / "2" / "two_convs.safetensors", golden / "4" / "two_convs.safetensors")
    assert any(note.startswith("format: '2' in A, '4' in B") for note in difference.notes)
    assert not any(one.part == "file" for one in difference.changes)


def test_two_saves_of_one_model_are_identical(compared: Callable[..., tiedio.Difference]) -> None:
    for model in (two_convolutions(2), language_model(30, 4, 6, "reference")):
        assert told(compared(model, model)) == []


def test_diff_tells_a_function_of_every_byte(compared: Callable[..., tiedio.Difference]) -> None:
    calls: list[tuple[int, int]] = []
    compared(dense(), dense(), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2 * 4 * 16, 2 * 4 * 16)


def test_the_text_fits_a_narrow_terminal_and_keeps_one_line_for_each_fact_in_a_pipe(
    compared: Callable[..., tiedio.Difference],
) -> None:
    difference = compared(dense(), dense(5, kernel_regularizer=keras.regularizers.L1L2(0.5, 0.25)))
    assert all(len(line) <= 60 for line in difference.text(60).splitlines() if ".safetensors" not in line)
    lines = difference.text(None).splitlines()
    assert "  dense: units is 4 in A, 5 in B" in lines
    assert len([line for line in lines if line.startswith("  ")]) == len(difference.changes) + len(difference.values)


def test_a_weight_that_is_a_view_in_one_file_only_is_told_as_a_variable_of_the_other(
    compared: Callable[..., tiedio.Difference],
) -> None:
    def model(tied: bool) -> Any:
        keras.utils.set_random_seed(1)
        x = keras.Input((3,), name="x")
        a, b = keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")
        built = keras.Model(x, b(a(x)), name="m")
        if tied:
            tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
        return built

    assert told(compared(model(True), model(False))) == [
        "variables: b/kernel: only in B (float32 3 x 3)",
        "ties: a/kernel = b/kernel as its transpose([1, 0]): only in A",
    ]


def test_a_shape_that_a_format_of_keras_gave_back_as_a_list_is_no_difference(tmp_path: Path) -> None:
    model = dense()
    tiedio.save(model, tmp_path / "a.safetensors")
    model.save(tmp_path / "b.keras")
    tiedio.convert(tmp_path / "b.keras", tmp_path / "b.safetensors")
    assert told(tiedio.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")) == []
