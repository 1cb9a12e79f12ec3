"""Keras's formats and plain safetensors become files of tiedio, bit for bit, and everything is used or told."""

from __future__ import annotations

import functools
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

import tiedio
from tests.conversion_models import X, Y, saved, state, step, two_convolutions
from tiedio.conversion.opening import Source


def plain(compiled: bool = True) -> Any:
    """A model that Keras's formats carry whole, with state of many kinds."""
    inputs = keras.Input((6, 6, 1))
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    hidden = keras.layers.BatchNormalization(name="norm")(conv(inputs))
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    dense = keras.layers.Dense(3, name="twice")
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(dense(dense(hidden))))
    if compiled:
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"], jit_compile=False)
        model.train_on_batch(X, Y)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_whole_model_comes_over_with_its_optimizer(suffix: str, tmp_path: Path) -> None:
    model = plain()
    report = tiedio.convert(saved(model, tmp_path / f"m{suffix}"), tmp_path / "m.safetensors")
    assert (report.optimizer, report.notes, report.lost) == ("state", (), ())
    loaded = tiedio.load(tmp_path / "m.safetensors")
    assert state(loaded) == state(model)
    assert loaded.get_layer("twice")._inbound_nodes[1].operation is loaded.get_layer("twice")
    assert step(loaded) == step(model)


def test_what_no_format_of_keras_keeps_is_noted(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    report = tiedio.convert(saved(model, tmp_path / "m.keras"), tmp_path / "m.safetensors")
    assert report.notes == ("the state of one random generator is not in the file: it begins anew",)


def test_nothing_random_is_drawn_and_no_name_is_used_up(tmp_path: Path) -> None:
    path = saved(plain(), tmp_path / "m.keras")
    keras.utils.set_random_seed(3)
    expected = np.random.random(), keras.layers.Dense(1).name
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    tiedio.convert(path, tmp_path / "m.safetensors")
    assert (np.random.random(), keras.layers.Dense(1).name) == expected


def test_an_optimizer_that_took_no_step_is_not_built(tmp_path: Path) -> None:
    model = two_convolutions("adam", steps=0)
    assert not model.optimizer.built
    assert tiedio.convert(saved(model, tmp_path / "m.keras"), tmp_path / "m.safetensors").optimizer == "state"
    assert not tiedio.load(tmp_path / "m.safetensors").optimizer.built


def test_state_that_does_not_come_over_is_warned_of_and_noted(tmp_path: Path) -> None:
    path = saved(two_convolutions(), tmp_path / "m.keras")
    with pytest.warns(UserWarning, match=r"10 values, and Adam takes 14.*tiedio\.repair"):
        report = tiedio.convert(path, tmp_path / "m.safetensors")
    assert report.optimizer == "no state"
    assert [one.pair for one in report.lost] == ["near/kernel = wide/kernel", "near/bias = wide/bias"]
    assert tiedio.convert(path, tmp_path / "m.safetensors", optimizer=False).optimizer == "none"


def test_a_sequential_that_lost_its_repeats_does_not_pass_for_the_model(tmp_path: Path) -> None:
    dense = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((3,)), dense, dense])
    tiedio.save(model, tmp_path / "m.safetensors")
    with pytest.raises(tiedio.ModelError, match="gives another model back"):
        tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras")
    assert [one.name for one in tmp_path.iterdir()] == ["m.safetensors"]


def test_weights_go_into_a_clone_and_the_callers_model_stays(tmp_path: Path) -> None:
    model, other = plain(compiled=False), plain(compiled=False)
    before = state(other)
    path = saved(model, tmp_path / "m.weights.h5")
    tiedio.convert(path, tmp_path / "m.safetensors", model=other)
    assert state(other) == before
    assert list(state(tiedio.load(tmp_path / "m.safetensors")).values()) == list(state(model).values())


def test_weights_of_a_tied_model_fill_a_tied_model_and_its_optimizer(tmp_path: Path) -> None:
    model = two_convolutions()
    path = saved(model, tmp_path / "m.weights.h5")
    report = tiedio.convert(path, tmp_path / "m.safetensors", model=model)
    assert (len(report.ties), report.optimizer) == (2, "state")
    assert step(tiedio.load(tmp_path / "m.safetensors")) == step(model)


def test_weights_without_an_optimizer_fill_a_model_that_has_one_and_that_is_noted(tmp_path: Path) -> None:
    path = saved(plain(compiled=False), tmp_path / "m.weights.h5")
    report = tiedio.convert(path, tmp_path / "m.safetensors", model=plain())
    assert report.notes == ("the optimizer's state is not in the file: it is what it was when the model was made",)


def test_two_copies_that_differ_do_not_fill_one_weight(tmp_path: Path) -> None:
    untied = two_convolutions(None)
    tiedio.untie(untied.get_layer("wide"))
    untied.get_layer("wide").kernel.assign(np.ones((3, 3, 1, 3)))
    path = saved(untied, tmp_path / "m.weights.h5")
    with pytest.raises(tiedio.MismatchError, match="another value than in the file"):
        tiedio.convert(path, tmp_path / "m.safetensors", model=two_convolutions(None))
    legacy = saved(untied, tmp_path / "m.h5")
    with pytest.raises(tiedio.MismatchError, match="two values in the file"):
        tiedio.convert(legacy, tmp_path / "m.safetensors", model=two_convolutions(None))


def test_a_value_that_nothing_takes_is_an_error(tmp_path: Path) -> None:
    path = saved(plain(compiled=False), tmp_path / "m.weights.h5")
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/2"] = np.ones(3)
    with pytest.raises(tiedio.MismatchError):
        tiedio.convert(path, tmp_path / "m.safetensors", model=plain(compiled=False))
    path = saved(plain(compiled=False), tmp_path / "n.weights.h5")
    with h5py.File(path, "a") as file:
        file["layers/more/vars/0"] = np.ones(3)
    with pytest.raises(tiedio.MismatchError, match="layers/more/vars/0"):
        tiedio.convert(path, tmp_path / "m.safetensors", model=plain(compiled=False))


def test_nothing_is_cast(tmp_path: Path) -> None:
    path = saved(plain(compiled=False), tmp_path / "m.weights.h5")
    with h5py.File(path, "a") as file:
        value = file["layers/dense/vars/0"][()]
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = value.astype("float64")
    with pytest.raises(tiedio.MismatchError, match="float64"):
        tiedio.convert(path, tmp_path / "m.safetensors", model=plain(compiled=False))


def test_bfloat16_comes_over(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype="bfloat16")])
    tiedio.convert(saved(model, tmp_path / "m.keras"), tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors")
    assert loaded.layers[0].kernel.dtype == "bfloat16"
    assert np.asarray(loaded.layers[0].kernel).tobytes() == np.asarray(model.layers[0].kernel).tobytes()


def test_a_vocabulary_in_the_assets_comes_over(tmp_path: Path) -> None:
    lookup = keras.layers.StringLookup()
    lookup.adapt(np.array(["a", "b", "a"]))
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, keras.layers.Embedding(3, 2)])
    path = saved(model, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        assert any(name.startswith("assets/") for name in archive.namelist())
    tiedio.convert(path, tmp_path / "m.safetensors")
    assert tiedio.load(tmp_path / "m.safetensors").layers[0].get_vocabulary() == lookup.get_vocabulary()


def chain(names: str, **options: Any) -> Any:
    """Dense layers of one shape in a row."""
    layers = [keras.layers.Dense(5, name=name, use_bias=False, **options) for name in names]
    inputs = outputs = keras.Input((5,))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_layers_in_another_order_do_not_take_each_others_values(suffix: str, tmp_path: Path) -> None:
    """Keras goes by the order; the names in the file say that it is another one."""
    path = saved(chain("abc"), tmp_path / f"m{suffix}")
    with pytest.raises(tiedio.MismatchError, match="another order"):
        tiedio.convert(path, tmp_path / "m.safetensors", model=chain("acb"))
    report = tiedio.convert(path, tmp_path / "m.safetensors", model=chain("bcd"))  # names that merely go on
    assert report.tensors == 3


def test_a_frozen_weight_does_not_change_places_with_its_neighbor(tmp_path: Path) -> None:
    """The older format writes what is trainable first, and nothing restores which single weight is not."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.LayerNormalization(name="norm")])
    model.layers[0].gamma.trainable = False
    with pytest.raises(tiedio.MismatchError, match="beta, gamma"):
        tiedio.convert(saved(model, tmp_path / "m.h5"), tmp_path / "m.safetensors")


# --- plain safetensors ----------------------------------------------------------------------------------


def tensors(model: Any) -> dict[str, Any]:
    return {variable.path: np.array(variable) for variable in model.weights}


def test_plain_safetensors_by_path_and_a_dropped_alias(tmp_path: Path) -> None:
    model = two_convolutions(None)
    safetensors.numpy.save_file(tensors(model), tmp_path / "in.safetensors")
    report = tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", model=model)
    assert report.notes == ("2 more places got their value by the model's own ties",)
    assert state(tiedio.load(tmp_path / "m.safetensors")) == state(model)


def test_plain_safetensors_with_both_names_of_a_tied_weight(tmp_path: Path) -> None:
    model = two_convolutions(None)
    found = tensors(model)
    found["wide/kernel"], found["wide/bias"] = found["near/kernel"].copy(), found["near/bias"].copy()
    safetensors.numpy.save_file(found, tmp_path / "in.safetensors")
    tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", model=model)
    found["wide/kernel"] += 1
    safetensors.numpy.save_file(found, tmp_path / "in.safetensors")
    with pytest.raises(tiedio.MismatchError, match=r"near/kernel.*differ"):
        tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", model=model)


def test_plain_safetensors_by_a_mapping_that_turns(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    weight = np.arange(6, dtype="float32").reshape(2, 3)
    found = {"fc.weight": weight, "fc.bias": np.ones(2, "float32")}
    safetensors.numpy.save_file(found, tmp_path / "in.safetensors")
    mapping = {"fc.weight": ("dense/kernel", tiedio.transpose()), "fc.bias": "dense/bias"}
    tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", model=model, mapping=mapping)
    assert np.array_equal(np.asarray(tiedio.load(tmp_path / "m.safetensors").layers[0].kernel), weight.T)


def test_plain_safetensors_are_strict_and_tell_everything(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="model")
    (tmp_path / "config.json").write_text(json.dumps(keras.saving.serialize_keras_object(model)))
    found = {"dense/kernel": np.ones((3, 2), "float32"), "other": np.ones(1, "float32")}
    safetensors.numpy.save_file(found, tmp_path / "in.safetensors")
    arguments: dict[str, Any] = {"config": tmp_path / "config.json"}
    with pytest.raises(tiedio.MismatchError, match=r"'other' is no weight.*'dense/bias' of the model"):
        tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", **arguments)
    report = tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", strict=False, **arguments)
    assert len(report.notes) == 2
    found["dense/kernel"] = found["dense/kernel"].astype("float16")
    safetensors.numpy.save_file(found, tmp_path / "in.safetensors")
    with pytest.raises(tiedio.MismatchError, match="float16"):
        tiedio.convert(tmp_path / "in.safetensors", tmp_path / "m.safetensors", strict=False, **arguments)


def test_a_name_that_means_two_weights_is_refused(tmp_path: Path) -> None:
    model = chain("ab")
    path, target = tmp_path / "in.safetensors", tmp_path / "m.safetensors"
    a, b = model.layers[1:]
    a.name, b.name = "b", "a"  # the paths of the variables stay
    safetensors.numpy.save_file(tensors(model), path)
    with pytest.raises(tiedio.MismatchError, match="the slot of one weight and Keras's path of another"):
        tiedio.convert(path, target, model=model)
    tiedio.convert(path, target, model=model, mapping={"a/kernel": "b/kernel", "b/kernel": "a/kernel"})
    assert state(tiedio.load(target)) == state(model)
    b.name = "c"
    safetensors.numpy.save_file(tensors(model), path)
    tiedio.convert(path, target, model=model)  # all are paths, and "a/kernel" is no slot
    assert list(state(tiedio.load(target)).values()) == list(state(model).values())


# --- .keras out ---------------------------------------------------------------------------------------


def test_keras_out_warns_of_each_tie_and_of_the_state(tmp_path: Path) -> None:
    tiedio.save(two_convolutions(), tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match=r"\.keras does not carry") as told:
        report = tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras")
    texts = [str(one.message) for one in told if ".keras does not carry" in str(one.message)]
    assert [text.partition(": ")[2] for text in texts] == list(report.notes)
    assert list(report.notes) == [
        ".keras does not carry the tie near/kernel = wide/kernel",
        ".keras does not carry the tie near/bias = wide/bias",
        ".keras does not carry the state of Adam (@optimizer)",
    ]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.keras", "m.safetensors"]


def test_keras_out_of_what_it_carries_warns_of_nothing(tmp_path: Path) -> None:
    model = plain()
    tiedio.save(model, tmp_path / "m.safetensors")
    assert tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras").notes == ()
    assert step(keras.saving.load_model(tmp_path / "m.keras")) == step(model)


def test_keras_out_warns_of_what_is_set_on_single_weights(tmp_path: Path) -> None:
    model = chain("abc")
    a, b, c = (layer.kernel for layer in model.layers[1:])
    a.trainable, b.regularizer, c.constraint = False, keras.regularizers.L2(0.1), keras.constraints.NonNeg()
    tiedio.save(model, tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match=r"what was set on .*/kernel"):
        notes = tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras").notes
    assert [note.partition(": ")[0].rpartition(" ")[2] for note in notes] == ["a/kernel", "b/kernel", "c/kernel"]


def test_keras_out_warns_of_state_that_other_weights_would_get(tmp_path: Path) -> None:
    model = chain("abc")
    a, b = model.layers[1:3]
    a.trainable = False
    model.compile("adam", "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 5)), np.ones((4, 5)))
    a.trainable, b.trainable = True, False  # the state is that of b and c; Keras gives it to a and c
    tiedio.save(model, tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="the state of Adam"):
        tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras")


@pytest.mark.parametrize("by_name", [True, False])
def test_keras_out_warns_of_what_is_excluded_from_weight_decay(by_name: bool, tmp_path: Path) -> None:
    model = chain("ab")
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    if by_name:
        optimizer.exclude_from_weight_decay(var_names=["b"])
    else:
        optimizer.exclude_from_weight_decay(var_list=[model.weights[1]])
    model.compile(optimizer, "mse", jit_compile=False)
    tiedio.save(model, tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="excluded from weight decay"):
        tiedio.convert(tmp_path / "m.safetensors", tmp_path / "m.keras")


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"), [("m.pkl", "m.safetensors"), ("m.keras", "m.h5"), ("m", "m.safetensors")]
)
def test_other_suffixes_are_refused_before_anything_is_opened(source: str, target: str, tmp_path: Path) -> None:
    with pytest.raises(tiedio.PathError, match="suffix"):
        tiedio.convert(tmp_path / source, tmp_path / target)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    saved(plain(), tmp_path / "m.h5").rename(tmp_path / "m.keras")
    with pytest.raises(tiedio.FormatError, match="an HDF5 file"):
        tiedio.convert(tmp_path / "m.keras", tmp_path / "m.safetensors")


def test_a_target_that_exists_stays_where_that_is_asked(tmp_path: Path) -> None:
    path = saved(plain(), tmp_path / "m.keras")
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    with pytest.raises(tiedio.PathError, match="exists"):
        tiedio.convert(path, tmp_path / "m.safetensors", overwrite=False)
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "call", [tiedio.convert, functools.partial(tiedio.repair, all=True)], ids=["convert", "repair"]
)
def test_what_is_written_is_told_as_it_grows(call: Any, tmp_path: Path) -> None:
    two_convolutions().save(tmp_path / "a.keras")
    told: list[tuple[int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a conversion tells that state did not come over
        call(tmp_path / "a.keras", tmp_path / "a.safetensors", progress=lambda *one: told.append(one))
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_is_read_is_told_up_to_all_of_it(suffix: str, tmp_path: Path) -> None:
    plain().save(tmp_path / f"a{suffix}")
    told: list[tuple[int, int]] = []
    with Source(tmp_path / f"a{suffix}", lambda *one: told.append(one)) as source:
        whole = source.window().read()
        source.tell_no_more()
        so_far = list(told)
        source.window().read()
    assert whole == (tmp_path / f"a{suffix}").read_bytes()
    assert told == so_far
    assert told[-1] == (len(whole), len(whole))
