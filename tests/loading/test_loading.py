"""Weights into a model that code has built: everything, with the ties that the code makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import FormatError, MismatchError, ModelError, NoSuchFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def mlp(units: int = 3, names: bool = True, dtype: Any = None) -> Any:
    named: Any = [{"name": "one"}, {"name": "other"}] if names else [{}, {}]
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, dtype=dtype, **named[0]),
            keras.layers.Dense(units, dtype=dtype, **named[1]),
        ]
    )


def test_a_model_that_save_refuses_comes_back_through_its_code(path: Path, tools: Any) -> None:
    model = tools.net(steps=3)
    with pytest.raises(ModelError):
        tiedio.save(model, path)
    tiedio.save_weights(model, path)
    fresh = tools.net(seed=1)
    report = tiedio.load_weights(fresh, path)
    assert report.complete
    assert not report.skipped
    assert fresh.second.kernel is fresh.first.kernel
    assert tools.values(fresh) == tools.values(model)
    assert np.array(fresh(tools.x)).tobytes() == np.array(model(tools.x)).tobytes()
    assert tools.step(fresh) == tools.step(model)


def test_a_second_round_trip_gives_the_same(path: Path, tools: Any) -> None:
    model = tools.net(steps=2)
    tiedio.save_weights(model, path)
    fresh = tools.net(seed=1)
    tiedio.load_weights(fresh, path)
    tiedio.save_weights(fresh, path)
    third = tools.net(seed=2)
    tiedio.load_weights(third, path)
    assert third.second.kernel is third.first.kernel
    assert tools.step(third) == tools.step(model)


def test_the_trained_model_goes_on_from_an_earlier_state(path: Path, tools: Any) -> None:
    model = tools.net(steps=2, traced=True)
    tiedio.save_weights(model, path)
    function = model.train_function
    then = [tools.step(model) for _ in range(3)]
    report = tiedio.load_weights(model, path)
    assert report.complete
    assert model.train_function is function  # TensorFlow's functions read the variables
    assert [tools.step(model) for _ in range(3)] == then


def test_loading_a_state_from_before_the_first_step_forgets_the_optimizer_s(path: Path, tools: Any) -> None:
    model = tools.net(traced=True)
    tiedio.save_weights(model, path)
    then = [tools.step(model) for _ in range(2)]
    optimizer = model.optimizer
    tiedio.load_weights(model, path)
    assert model.optimizer is optimizer
    assert not optimizer.built
    assert [tools.step(model) for _ in range(2)] == then


def test_the_model_is_not_touched_by_saving(path: Path, tools: Any) -> None:
    model = tools.net(steps=1)
    before = tools.picture(model)
    tiedio.save_weights(model, path)
    assert tools.picture(model) == before


def test_a_file_of_save_loads_into_a_model_that_code_builds(path: Path, tools: Any) -> None:
    model = mlp()
    model.compile("adam", "mse")
    model.fit(tools.x, tools.y, verbose=0)
    tiedio.save(model, path)
    fresh = mlp()
    fresh.compile("adam", "mse")
    assert tiedio.load_weights(fresh, path).complete
    assert tools.step(fresh) == tools.step(model)


def test_layers_without_names_are_matched_by_their_order(path: Path, tools: Any) -> None:
    model = mlp(names=False)
    tiedio.save_weights(model, path)
    fresh = mlp(names=False)
    assert [layer.name for layer in fresh.layers] != [layer.name for layer in model.layers]
    report = tiedio.load_weights(fresh, path)
    assert report.complete
    assert report.renamed == (("dense", "dense_2"), ("dense_1", "dense_3"))
    assert tools.values(fresh) == tools.values(model)
    assert "matched by order" in str(report)


def test_names_that_only_overlap_do_not_match_by_chance(path: Path, tools: Any) -> None:
    square = [keras.layers.Dense(3) for _ in range(2)]
    tiedio.save_weights(keras.Sequential([keras.Input((3,)), *square]), path)

    keras.utils.clear_session(free_memory=False)
    _ = keras.layers.Dense(1)
    shifted = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3) for _ in range(3))])
    assert [layer.name for layer in shifted.layers] == ["dense_1", "dense_2", "dense_3"]
    for model in (shifted,):
        with pytest.raises(MismatchError):
            tiedio.load_weights(model, path)
        assert not tiedio.load_weights(model, path, strict=False).loaded


def test_several_roots_with_a_shared_layer(path: Path, tools: Any) -> None:
    def build() -> dict[str, Any]:
        inputs = keras.Input((3,))
        encoder = keras.Model(inputs, keras.layers.Dense(2, name="code")(inputs))
        whole = keras.Model(inputs, keras.layers.Dense(3, name="out")(encoder.output))
        return {"encoder": encoder, "autoencoder": whole}

    models, fresh = build(), build()
    tiedio.save_weights(models, path)
    assert tiedio.load_weights(fresh, path).complete
    assert fresh["encoder"].get_layer("code") is fresh["autoencoder"].get_layer("code")
    assert tools.values(fresh["autoencoder"]) == tools.values(models["autoencoder"])


def test_mapped_values_are_each_a_variable_s_own(path: Path, tools: Any) -> None:
    model = tools.net(tied=True, optimizer=None)
    tiedio.save_weights(model, path)
    content = path.read_bytes()
    for mmap in (True, False):
        one, other = tools.net(seed=1, tied=False, optimizer="sgd"), tools.net(seed=1, optimizer=None)
        tiedio.load_weights(one, path, ties="model", mmap=mmap)
        tiedio.load_weights(other, path, mmap=mmap)
        assert tools.values(other) == tools.values(model)
        one.first.kernel.assign_add(keras.ops.ones((3, 3)))
        assert np.array(one.second.kernel).tobytes() == np.array(model.second.kernel).tobytes()
        tools.step(one)
        assert tools.values(other) == tools.values(model)
    assert path.read_bytes() == content


def test_a_model_without_a_config_of_its_optimizer_is_filled_all_the_same(path: Path, tools: Any) -> None:
    tiedio.save_weights(tools.net(steps=1), path)
    fresh = tools.net(seed=1, optimizer=None)
    report = tiedio.load_weights(fresh, path)
    assert report.complete
    assert report.skipped == (("@optimizer", "no model here is compiled in its place"),)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_no_value_is_cast(path: Path, dtype: str, tools: Any) -> None:
    tiedio.save_weights(mlp(), path)
    other = mlp(dtype=dtype)
    before = tools.picture(other)
    with pytest.raises(MismatchError, match=f"{dtype} "):
        tiedio.load_weights(other, path)
    report = tiedio.load_weights(other, path, strict=False)
    assert tools.picture(other) == before
    assert not report.loaded
    assert [one.path for one in report.mismatched] == ["one/kernel", "one/bias", "other/kernel", "other/bias"]
    assert report.mismatched[0].model == f"{dtype} (3, 4)"


def test_a_trainable_flag_that_differs_is_told_and_kept(path: Path) -> None:
    tiedio.save_weights(mlp(), path)
    model = mlp()
    model.get_layer("one").trainable = False
    report = tiedio.load_weights(model, path)
    assert report.trainable == ("one/kernel", "one/bias")
    assert not model.get_layer("one").kernel.trainable
    assert "trainable" in str(report)


def test_regularizers_and_constraints_are_the_code_s(path: Path) -> None:
    tiedio.save_weights(mlp(), path)
    model = mlp()
    regularizer, constraint = keras.regularizers.L2(0.1), keras.constraints.NonNeg()
    model.get_layer("one").kernel.regularizer = regularizer
    model.get_layer("one").kernel.constraint = constraint
    tiedio.load_weights(model, path)
    assert model.get_layer("one").kernel.regularizer is regularizer
    assert model.get_layer("one").kernel.constraint is constraint


def test_an_error_names_every_place_that_does_not_fit(path: Path, tools: Any) -> None:
    tiedio.save_weights(mlp(), path)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, name="one"), keras.layers.Dense(3, name="new")])
    before = tools.picture(other)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(other, path)
    for part in ("new/kernel", "new/bias", "other/kernel", "float32 (3, 4) in the file", "float32 (3, 5) in the model"):
        assert part in str(caught.value.found)
    assert "strict=False" in str(caught.value.remedy)
    assert tools.picture(other) == before


def test_an_unbuilt_model_is_refused(path: Path) -> None:
    tiedio.save_weights(mlp(), path)
    with pytest.raises(ModelError, match="not built"):
        tiedio.load_weights(keras.Sequential([keras.layers.Dense(3)]), path)


def test_wrong_arguments_are_refused(path: Path) -> None:
    with pytest.raises(NoSuchFileError):
        tiedio.load_weights(mlp(), path)
    tiedio.save_weights(mlp(), path)
    with pytest.raises(ModelError, match="'match', 'restore' or 'model'"):
        tiedio.load_weights(mlp(), path, ties="keep")
    with pytest.raises(ModelError, match="not a model"):
        tiedio.load_weights("model", path)


def test_a_damaged_file_changes_nothing(path: Path, tools: Any) -> None:
    model = mlp()
    tiedio.save_weights(mlp(), path)
    path.write_bytes(path.read_bytes()[:-1])
    before = tools.picture(model)
    with pytest.raises(FormatError):
        tiedio.load_weights(model, path)
    assert tools.picture(model) == before
