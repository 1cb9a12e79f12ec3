"""A tie that Keras's formats lost comes back, and the model trains on as the one that never lost it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import tiedio
from tests.conversion_models import X, Y, autoencoder, saved, state, step, two_convolutions

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adam with averages": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_next_step_is_that_of_the_model_that_lost_nothing(name: str, suffix: str, tmp_path: Path) -> None:
    model = two_convolutions(OPTIMIZERS[name](), steps=3)
    if suffix == ".h5" and name == "adafactor":
        with pytest.raises(ValueError, match="name already exists"):  # its variables for a bias have one name
            saved(model, tmp_path / "lost.h5")
        return
    lost = saved(model, tmp_path / f"lost{suffix}")
    tiedio.save(model, tmp_path / "truth.safetensors")
    report = tiedio.repair(lost, tmp_path / "repaired.safetensors", all=True)
    assert report.optimizer == "brought back"
    assert [one.pair for one in report.tied] == ["near/kernel = wide/kernel", "near/bias = wide/bias"]
    truth, repaired = (tiedio.load(tmp_path / f"{name}.safetensors") for name in ("truth", "repaired"))
    near, wide = repaired.get_layer("near"), repaired.get_layer("wide")
    assert wide.kernel is near.kernel
    assert wide.bias is near.bias
    assert state(repaired) == state(truth)
    assert step(repaired) == step(truth)


def test_a_model_of_weights_alone_is_repaired_too(tmp_path: Path) -> None:
    model = two_convolutions()
    lost, config = saved(model, tmp_path / "m.weights.h5"), saved(model, tmp_path / "m.keras")
    tiedio.save(model, tmp_path / "truth.safetensors")
    assert tiedio.repair(lost, tmp_path / "r.safetensors", all=True, config=config).optimizer == "brought back"
    assert step(tiedio.load(tmp_path / "r.safetensors")) == step(tiedio.load(tmp_path / "truth.safetensors"))


def test_a_matrix_and_its_transpose_are_tied_as_a_view(tmp_path: Path) -> None:
    lost = saved(autoencoder(None), tmp_path / "m.keras")
    report = tiedio.repair(lost, tmp_path / "r.safetensors", pairs="decoder/kernel=encoder/kernel")
    assert [one.pair for one in report.tied] == ["encoder/kernel = decoder/kernel (transposed)"]
    loaded = tiedio.load(tmp_path / "r.safetensors")
    assert [str(v) for tie in tiedio.find_ties(loaded) for v in tie.slots] == ["encoder/kernel", "decoder/kernel"]
    encoder, decoder = loaded.layers
    encoder.kernel.assign(np.ones((8, 5)))
    assert np.array_equal(np.asarray(decoder.kernel), np.ones((5, 8)))


def test_states_that_differ_are_refused_and_named(tmp_path: Path) -> None:
    model = two_convolutions(None)
    tiedio.untie(model.get_layer("wide"))
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(X, Y)
    for name in ("kernel", "bias"):
        getattr(model.get_layer("wide"), name).assign(getattr(model.get_layer("near"), name))
    lost = saved(model, tmp_path / "m.keras")
    assert tiedio.find_lost_ties(lost)[0].optimizer == "differs"
    with pytest.raises(tiedio.TieError, match=r"near/kernel and wide/kernel.*--drop-optimizer"):
        tiedio.repair(lost, tmp_path / "r.safetensors", all=True)
    assert not (tmp_path / "r.safetensors").exists()
    assert tiedio.repair(lost, tmp_path / "r.safetensors", all=True, optimizer=False).optimizer == "none"


def test_states_that_agree_are_one_afterwards(tmp_path: Path) -> None:
    model = two_convolutions("adam", steps=0)
    tiedio.untie(model.get_layer("wide"))
    model.optimizer.build(model.trainable_variables)
    lost = saved(model, tmp_path / "m.keras")
    assert tiedio.find_lost_ties(lost)[0].optimizer == "agrees"
    assert tiedio.repair(lost, tmp_path / "r.safetensors", all=True).optimizer == "reunited"
    assert (
        len(tiedio.load(tmp_path / "r.safetensors").optimizer.variables) == 2 + 2 * 5
    )  # the biases, all zeros, stay two


def test_too_few_ties_for_the_optimizers_state_are_refused(tmp_path: Path) -> None:
    lost = saved(two_convolutions(), tmp_path / "m.keras")
    with pytest.raises(tiedio.MismatchError, match="even with the ties that were made"):
        tiedio.repair(lost, tmp_path / "r.safetensors", pairs=["near/kernel=wide/kernel"])
    assert [one.name for one in tmp_path.iterdir()] == ["m.keras"]


def test_weights_that_differ_are_refused_with_the_difference(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a"), keras.layers.Dense(4, name="b")])
    model.layers[1].kernel.assign(np.asarray(model.layers[0].kernel) + 0.25)
    lost = saved(model, tmp_path / "m.keras")
    with pytest.raises(tiedio.TieError, match=r"a/kernel and b/kernel.*differ by up to 0\.25"):
        tiedio.repair(lost, tmp_path / "r.safetensors", pairs=[("a/kernel", "b/kernel")])


@pytest.mark.parametrize("pairs", [["a/kernel"], [("a", "b", "c")], ["=b"], [3]])
def test_what_is_no_pair_is_refused(pairs: list[object], tmp_path: Path) -> None:
    with pytest.raises(tiedio.ModelError, match="no pair"):
        tiedio.repair("nowhere.keras", tmp_path / "r.safetensors", pairs=pairs)


def test_nothing_is_chosen_silently(tmp_path: Path) -> None:
    with pytest.raises(tiedio.ModelError, match="nothing is chosen"):
        tiedio.repair("nowhere.keras", tmp_path / "r.safetensors")


def test_a_path_of_no_weight_is_told(tmp_path: Path) -> None:
    lost = saved(two_convolutions(None), tmp_path / "m.keras")
    with pytest.raises(tiedio.TieError, match="near/krenel: there is no weight"):
        tiedio.repair(lost, tmp_path / "r.safetensors", pairs="near/krenel=wide/kernel")


def test_a_file_of_tiedio_is_repaired_as_well(tmp_path: Path) -> None:
    tiedio.convert(saved(two_convolutions(None), tmp_path / "m.keras"), tmp_path / "c.safetensors")
    tiedio.repair(tmp_path / "c.safetensors", tmp_path / "r.safetensors", all=True)
    assert [tie.path for tie in tiedio.find_ties(tiedio.load(tmp_path / "r.safetensors"))] == ["near/kernel"]


def test_what_two_weights_do_not_have_in_common_is_told(tmp_path: Path) -> None:
    layers = [keras.layers.Dense(5, name=name, use_bias=False) for name in "ab"]
    model = keras.Sequential([keras.Input((5,)), *layers])
    tiedio.tie(layers[1], layers[0])
    layers[1].trainable = False
    lost = saved(model, tmp_path / "m.keras")
    with pytest.raises(tiedio.ModelError, match="1 weak candidates"):
        tiedio.repair(lost, tmp_path / "r.safetensors", all=True)
    with pytest.warns(UserWarning, match=r"a/kernel and b/kernel: one is trainable.*that of a/kernel was kept"):
        report = tiedio.repair(lost, tmp_path / "r.safetensors", pairs="a/kernel=b/kernel")
    assert len(report.notes) == 1


def test_a_pair_that_is_no_candidate_is_told_once_it_is_tied(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5,)), *(keras.layers.Dense(5, name=name) for name in "ab")])
    report = tiedio.repair(
        saved(model, tmp_path / "m.keras"), tmp_path / "r.safetensors", pairs=["a/bias=b/bias", "b/bias=a/bias"]
    )
    assert [one.pair for one in report.tied] == ["a/bias = b/bias"]


def test_a_pair_of_a_weight_with_itself_is_refused(tmp_path: Path) -> None:
    lost = saved(two_convolutions(None), tmp_path / "m.keras")
    with pytest.raises(tiedio.TieError, match="with itself"):
        tiedio.repair(lost, tmp_path / "r.safetensors", pairs="near/kernel=near/kernel")


@pytest.mark.parametrize("middle", [5, 7])
def test_state_that_fits_in_two_ways_is_refused(middle: int, tmp_path: Path) -> None:
    """Whether a matrix or its transpose was the variable, the file does not say; only shapes may."""
    sizes = {"encoder": middle, "middle": 5, "decoder": middle}
    layers = {name: keras.layers.Dense(size, name=name, use_bias=False) for name, size in sizes.items()}
    model = keras.Sequential([keras.Input((5,)), *layers.values()])
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    y = np.ones((4, middle), "float32")
    source, target = layers["decoder"], layers["encoder"]
    if middle == 5:
        tiedio.tie(target, source, weights=["kernel"], view=tiedio.transpose())
    else:
        tiedio.tie(layers["middle"], layers["encoder"], weights=["kernel"], view=tiedio.transpose())
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(x, y)
    lost = saved(model, tmp_path / "m.keras")
    if middle == 5:
        with pytest.raises(tiedio.MismatchError, match="fits in two ways"):
            tiedio.repair(lost, tmp_path / "r.safetensors", all=True)
        assert [one.name for one in tmp_path.iterdir()] == ["m.keras"]
        return
    assert tiedio.repair(lost, tmp_path / "r.safetensors", all=True).optimizer == "brought back"
    loaded = tiedio.load(tmp_path / "r.safetensors")
    assert [v.tobytes() for v in map(np.asarray, loaded.optimizer.variables)] == [
        v.tobytes() for v in map(np.asarray, model.optimizer.variables)
    ]
