"""The oracle catches whatever a wrong loader could do: every part has a fault planted in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tiedio
from tiedio.testing import assert_round_trip, zoo
from tiedio.testing.zoo_base import floats, put, share, trained, untie

if TYPE_CHECKING:
    from .conftest import Twins

layers = keras.layers
X, Y = floats(5, 4), floats(5, 4, seed=1)


def build() -> Any:
    """A model with a tied kernel, a layer that is called twice, a seed, and weights that decay or not."""
    inputs = keras.Input((4,), name="inputs")
    one, two = (layers.Dense(4, activation="tanh", name=name) for name in ("one", "two"))
    free = layers.Dense(4, kernel_regularizer="l2", bias_constraint="non_neg", name="free")
    norm, drop = layers.BatchNormalization(name="norm"), layers.Dropout(0.5, seed=3, name="drop")
    hidden = two(drop(norm(free(one(inputs)))))
    model = keras.Model(inputs, layers.Subtract(name="out")([two(hidden), hidden]), name="model")
    share(two, "_kernel", one)
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.2)
    optimizer.exclude_from_weight_decay([free.kernel])
    return trained(model, X, Y, optimizer=optimizer)


def round_trip(folder: Path, **settings: Any) -> Any:
    keras.utils.clear_session(free_memory=False)
    return assert_round_trip(build(), inputs=X, targets=Y, folder=folder, **settings)


def test_a_right_loader_is_accepted(twins: Twins, tmp_path: Path) -> None:
    twins.build = build
    assert isinstance(round_trip(tmp_path), keras.Model)


def test_the_model_is_put_back_to_its_values(twins: Twins, tmp_path: Path) -> None:
    twins.build = build
    model = build()
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(v).tobytes() for v in variables]
    keras.utils.clear_session(free_memory=False)
    model.name = "model"
    assert_round_trip(model, inputs=X, targets=Y, folder=tmp_path)
    assert [np.array(v).tobytes() for v in variables] == before


def _drop_a_tie(m: Any) -> None:
    untie(m.get_layer("two"), "_kernel")


def _add_a_tie(m: Any) -> None:
    share(m.get_layer("two"), "bias", m.get_layer("one"))


def _swap_the_sides_of_a_tie(m: Any) -> None:
    kernel = m.get_layer("free").kernel
    put(m.get_layer("free"), "_kernel", m.get_layer("two").kernel)
    put(m.get_layer("two"), "_kernel", kernel)


def _split_a_layer(m: Any) -> None:
    other = layers.Dense(4, activation="tanh", name="two")
    other.build((None, 4))
    for name in ("_kernel", "bias"):
        put(other, name, getattr(m.get_layer("two"), name))
    m._nodes_by_depth[1][0].operation = other


def _merge_two_layers(m: Any) -> None:
    m._operations[m._operations.index(m.get_layer("one"))] = m.get_layer("two")


def _wire_the_graph_another_way(m: Any) -> None:
    arguments = m._nodes_by_depth[0][0].arguments
    arguments.args = (arguments.args[0][::-1],)


def _change_one_bit(m: Any) -> None:
    value = np.array(m.get_layer("free").kernel)
    value.reshape(-1).view("uint32")[5] ^= 1
    m.get_layer("free").kernel.assign(value)


def _change_the_sign_of_zero(m: Any) -> None:
    m.get_layer("norm").beta.assign(-np.zeros(4, "float32"))


def _change_the_seed(m: Any) -> None:
    state = m.get_layer("drop").seed_generator.state
    state.assign(np.array(state) + 1)


def _change_the_dtype(m: Any) -> None:
    mean = m.get_layer("norm").moving_mean
    put(m.get_layer("norm"), "moving_mean", keras.Variable(np.array(mean), dtype="float64", trainable=False))


def _flip_a_variables_flag(m: Any) -> None:
    m.get_layer("free").kernel.trainable = False


def _flip_a_layers_flag(m: Any) -> None:
    m.get_layer("drop").trainable = False


def _drop_a_regularizer(m: Any) -> None:
    m.get_layer("free").kernel.regularizer = None


def _change_a_regularizer(m: Any) -> None:
    m.get_layer("free").kernel.regularizer = keras.regularizers.L2(0.5)


def _drop_a_constraint(m: Any) -> None:
    m.get_layer("free").bias.constraint = None


def _stop_autocast(m: Any) -> None:
    m.get_layer("free").bias._autocast = False


def _swap_the_order_of_weights(m: Any) -> None:
    m.get_layer("two")._trainable_variables.reverse()


def _rename_a_layer(m: Any) -> None:
    m.get_layer("free").name = "other"


def _swap_optimizer_state(m: Any) -> None:
    # The two kernels have one shape, and nothing but their variable tells their momentums apart.
    state = m.optimizer._momentums
    shapes = [tuple(v.shape) for v in state]
    first, second = [i for i, shape in enumerate(shapes) if shape == (4, 4)][:2]
    left, right = np.array(state[first]), np.array(state[second])
    state[first].assign(right)
    state[second].assign(left)


def _swap_optimizer_variables(m: Any) -> None:
    variables = m.optimizer._trainable_variables
    variables[0], variables[2] = variables[2], variables[0]


def _forget_iterations(m: Any) -> None:
    m.optimizer.iterations.assign(0)


def _change_the_learning_rate(m: Any) -> None:
    m.optimizer.learning_rate = 0.02


def _start_a_new_optimizer(m: Any) -> None:
    m.compile(optimizer=keras.optimizers.AdamW(0.01, weight_decay=0.2), loss="mse", run_eagerly=True)


def _change_the_loss(m: Any) -> None:
    m.compile(optimizer=m.optimizer, loss="mae", run_eagerly=True)


def _forget_to_compile(m: Any) -> None:
    m.compiled = False


def _decay_what_was_excluded(m: Any) -> None:
    # In no variable and in no config: only the next step tells.
    m.optimizer._exclude_from_weight_decay = set()
    m.optimizer._exclude_from_weight_decay_cache = {}


def _change_what_a_layer_does(m: Any) -> None:
    m.get_layer("two").activation = keras.activations.relu


def _change_what_a_layer_does_in_training(m: Any) -> None:
    m.get_layer("drop").rate = 0.25


def _answer_in_a_list(m: Any) -> None:
    call = m.call
    m.call = lambda *args, **kwargs: [call(*args, **kwargs)]


def _answer_in_another_shape(m: Any) -> None:
    call = m.call
    m.call = lambda *args, **kwargs: keras.ops.reshape(call(*args, **kwargs), (4, 5))


def _change_a_path(m: Any) -> None:
    m.get_layer("free").kernel._path = "free/other"


def _change_a_layers_path(m: Any) -> None:
    m.get_layer("free")._path = "other"


def _hold_a_variable_in_one_more_place(m: Any) -> None:
    m.kept = m.get_layer("one").kernel


FAULTS: dict[Callable[[Any], None], str] = {
    _drop_a_tie: r"ties, .*_kernel and .*_kernel are one variable in the original, but two in the loaded",
    _add_a_tie: r"ties, .*bias and .*bias are two variables in the original, but one in the loaded model",
    _swap_the_sides_of_a_tie: "ties, .*are one variable in the original",
    _split_a_layer: "shared objects, .*are one layer in the original, but two",
    _merge_two_layers: "shared objects, .*are two layers in the original, but one",
    _wire_the_graph_another_way: "shared objects, .*symbolic tensor",
    _hold_a_variable_in_one_more_place: "shared objects, .*only the loaded model has anything at model.kept",
    _change_one_bit: r"values, .*model.layers\[2\]._kernel: value differs",
    _change_the_sign_of_zero: "values, .*beta: value differs",
    _change_the_seed: "values, .*seed_generator.state: value differs",
    _change_the_dtype: "values, .*moving_mean: dtype differs: was 'float32' and is 'float64'",
    _flip_a_variables_flag: "flags, .*_kernel: trainable differs: was True and is False",
    _flip_a_layers_flag: r"objects, .*layers\[4\]: trainable was True and is False",
    _drop_a_regularizer: "flags, .*_kernel: regularizer differs: .* is None",
    _change_a_regularizer: "flags, .*_kernel: regularizer differs",
    _drop_a_constraint: "flags, .*bias: constraint differs",
    _stop_autocast: "flags, .*bias: autocast differs",
    _change_a_path: "flags, .*_kernel: path differs: was 'free/kernel' and is 'free/other'",
    _change_a_layers_path: "objects, .*path was 'free' and is 'other'",
    _answer_in_a_list: "outputs: the loaded model gives a result of another structure",
    _answer_in_another_shape: "outputs: the loaded model gives another result",
    _swap_the_order_of_weights: "ties, .*_trainable_variables",
    _rename_a_layer: "objects, .*name was 'free' and is 'other'",
    _swap_optimizer_state: r"optimizer, .*model.optimizer: _momentums of model.layers\[1\]._kernel differs",
    _swap_optimizer_variables: "ties, .*optimizer",
    _forget_iterations: "optimizer, .*iterations differs",
    _change_the_learning_rate: "compile configuration, .*compile config/.*was",
    _start_a_new_optimizer: "shared objects, .*only the original has anything at model.optimizer",
    _change_the_loss: "compile configuration, .*compile config/.*was",
    _forget_to_compile: "compile configuration, .*compiled was True and is False",
    _decay_what_was_excluded: "(values|optimizer), after the next training step",
    _change_what_a_layer_does: "outputs: the loaded model gives another result",
    _change_what_a_layer_does_in_training: "next step: the loaded model gives",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_a_planted_fault_is_caught(fault: Callable[[Any], None], twins: Twins, tmp_path: Path) -> None:
    twins.build, twins.tamper = build, fault
    with pytest.raises(AssertionError) as caught:
        round_trip(tmp_path)
    message = str(caught.value).replace("\n", " ")
    assert re.search(FAULTS[fault], message), message
    assert "load" in message or "loaded model" in message


@pytest.mark.parametrize(
    "fault",
    [_drop_a_tie, _change_one_bit, _swap_optimizer_state, _decay_what_was_excluded, _change_what_a_layer_does],
    ids=lambda fault: fault.__name__.strip("_"),
)
def test_a_fault_in_the_second_load_is_caught(fault: Callable[[Any], None], twins: Twins, tmp_path: Path) -> None:
    twins.build, twins.tamper, twins.tampered_load = build, fault, 2
    with pytest.raises(AssertionError, match=r"second load|loaded twice") as caught:
        round_trip(tmp_path)
    assert "first load" not in str(caught.value)


def test_a_loader_that_hands_out_the_original_is_caught(twins: Twins, tmp_path: Path) -> None:
    model = build()
    keras.utils.clear_session(free_memory=False)
    twins.build = build
    twins.tamper = lambda m: put(m.get_layer("free"), "bias", model.get_layer("free").bias)
    with pytest.raises(AssertionError, match="the loaded model holds the original's own variable"):
        assert_round_trip(model, inputs=X, targets=Y, folder=tmp_path)


def test_a_save_that_moves_a_weight_is_caught(twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins.build = build

    def save(model: Any, path: Path, **_settings: Any) -> None:
        twins.save(model, path)
        _change_one_bit(model)

    monkeypatch.setitem(vars(tiedio), "save", save)
    with pytest.raises(AssertionError, match=r"save: model.layers\[2\]._kernel is not what it was before saving"):
        round_trip(tmp_path)


def _copy_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    save_file(tensors | {"copy": next(iter(tensors.values()))}, path)


def _leave_a_tensor_out(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "norm" not in name))
    save_file(tensors, path)


def _date_the_file(path: Path) -> None:
    save_file(load_file(path), path, metadata={"saved": path.name})


def _pad_with_noise(path: Path) -> None:
    tensors = load_file(path)
    by = path.name == "again.safetensors"
    save_file({name: np.asarray(value + np.asarray(by, value.dtype)) for name, value in tensors.items()}, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_copy_a_tensor, r"file bytes: \d+ tensors for \d+ variables and constants"),
        (_leave_a_tensor_out, r"file bytes: \d+ tensors for \d+ variables and constants"),
        (
            _date_the_file,
            r"file bytes: saving the same model twice gives another file: headers differ at \['__metadata__/saved",
        ),
        (
            _pad_with_noise,
            "file bytes: saving the same model twice gives another file: headers agree, data differ",
        ),
    ],
    ids=["a tensor twice", "a tensor missing", "metadata that change", "values that change"],
)
def test_a_file_that_is_not_as_it_should_be_is_caught(
    spoil: Callable[[Path], None], message: str, twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins.build = build

    def save(model: Any, path: Path, **_settings: Any) -> None:
        twins.save(model, path)
        spoil(path)

    monkeypatch.setitem(vars(tiedio), "save", save)
    with pytest.raises(AssertionError, match=message):
        round_trip(tmp_path)


def test_a_second_save_that_differs_is_caught(twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins.build = build

    def save(model: Any, path: Path, **_settings: Any) -> None:
        twins.save(model, path)
        if path.name == "second.safetensors":
            _date_the_file(path)

    monkeypatch.setitem(vars(tiedio), "save", save)
    with pytest.raises(AssertionError, match="file bytes: saving the loaded model gives another file"):
        round_trip(tmp_path)


def test_a_fault_in_one_model_of_a_dict_is_caught(twins: Twins, tmp_path: Path) -> None:
    name = "encoder_and_autoencoder_that_share_layers"
    case = zoo.build_case(name)
    twins.build = lambda: zoo.build_case(name).model

    def load_the_encoder_again(models: Any) -> None:
        models["encoder"] = zoo.build_case(name).model["encoder"]

    twins.tamper = load_the_encoder_again
    with pytest.raises(AssertionError, match=r"model\['encoder'\].* are one layer in the original, but two"):
        assert_round_trip(case.model, inputs=case.inputs, targets=case.targets, folder=tmp_path)


def test_a_model_that_is_not_compiled_cannot_be_trained(twins: Twins, tmp_path: Path) -> None:
    name = "functional_model_that_was_never_compiled"
    case = zoo.build_case(name)
    twins.build = lambda: zoo.build_case(name).model
    with pytest.raises(ValueError, match="compile the model, or pass training=False"):
        assert_round_trip(case.model, inputs=case.inputs, targets=floats(5, 4), folder=tmp_path)
