"""Steps by hand for ties made or undone while training goes on, and for flags, regularizers and mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tiedio
from tests.by_hand import Adam, Reference, Sgd, Use, added_up, chain, same, taped, transposed
from tests.steps import (
    BATCH,
    MODES,
    System,
    array,
    assert_equal,
    at,
    compiled,
    numbers,
    reference_of,
    running_as,
    train_both,
)

Options = Mapping[str, Any]
L2 = 0.125


# A graph by itself is tried for every system in test_steps_by_hand.py; here it is what XLA compiles.
@pytest.fixture(params=[name for name in MODES if name != "graph"])
def mode(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with running_as(request.param) as found:
        yield found


@pytest.fixture(params=["alias", "view"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- two dense layers, `first` and `second` ---------------------------------------------------------------


def tied_pair(kind: str, source: Options | None = None, target: Options | None = None) -> System:
    """Two layers that share kernel and bias, or the second of which has the transpose of the first's kernel."""
    widths = (4, 4, 4) if kind == "alias" else (5, 3, 5)

    def build() -> tuple[Any, Any, Any]:
        inputs = keras.Input((widths[0],))
        hidden = layers.Dense(widths[1], activation="tanh", name="first", **(source or {}))(inputs)
        output = layers.Dense(widths[2], name="second", **(target or {}))(hidden)
        return keras.Model(inputs, output), numbers(8, widths[0]), numbers(8, widths[2], seed=1)

    def tie(model: Any) -> None:
        if kind == "alias":
            tiedio.tie(at(model, "second"), at(model, "first"))
        else:
            tiedio.tie(at(model, "second"), at(model, "first"), weights=["kernel"], view=tiedio.transpose())

    shared = {"second/kernel": same("first/kernel"), "second/bias": same("first/bias")}
    viewed = {"second/kernel": transposed("first/kernel")}
    return System(build, tie, chain("first", "second"), shared if kind == "alias" else viewed)


def again(model: Any, folder: Path) -> Any:
    tiedio.save(model, folder / "model.safetensors")
    return tiedio.load(folder / "model.safetensors")


def go_on(model: Any, reference: Reference, data: tuple[Any, Any], uses: Mapping[str, Use], folder: Path) -> None:
    """Two more steps of the model, and then two of the loaded model, equal those of the reference."""
    train_both(model, reference, *data)
    assert_equal(model, reference, uses, "float32")
    loaded = again(model, folder)
    train_both(loaded, reference, *data)
    assert_equal(loaded, reference, uses, "float32")


# --- ties made and undone while training goes on ----------------------------------------------------------


def scaled_by_eight(inner: Any) -> Any:
    return keras.optimizers.LossScaleOptimizer(inner, 8.0)


@pytest.mark.parametrize("scaled", [False, True], ids=["Adam", "Adam that scales the loss"])
def test_a_tie_made_while_training_goes_on_with_the_state_of_what_is_left(
    kind: str, mode: dict[str, Any], scaled: bool, tmp_path: Path
) -> None:
    system = tied_pair(kind)
    model, x, y = system.build()
    compiled(model, system, Adam(), mode, scaled_by_eight if scaled else lambda inner: inner)
    paths = ("first/kernel", "first/bias", "second/kernel", "second/bias")
    reference = Reference({path: array(at(model, path)) for path in paths}, system.network, Adam())
    train_both(model, reference, x, y)
    assert_equal(model, reference, {}, "float32")

    system.tie(model)
    for path in system.uses:
        reference.let_go(path)
    reference.gradients = system.tied
    assert_equal(model, reference, system.uses, "float32")
    go_on(model, reference, (x, y), system.uses, tmp_path)


def test_an_untied_weight_goes_on_with_a_copy_of_the_state_or_new_state_if_it_was_a_view(
    kind: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    system = tied_pair(kind)
    model, x, y = system.build()
    system.tie(model)
    compiled(model, system, Adam(), mode)
    reference = reference_of(model, system, Adam())
    train_both(model, reference, x, y)

    tiedio.untie(at(model, "second"))
    for path, use in system.uses.items():
        value = use.take(reference.parameters[use.parameter])
        reference.add(path, value, use.parameter if kind == "alias" else None)
    reference.gradients = added_up(system.network)
    assert_equal(model, reference, {}, "float32")
    go_on(model, reference, (x, y), {}, tmp_path)


# --- flags, regularizers, constraints ---------------------------------------------------------------------


@pytest.mark.parametrize("frozen", ["first", "second"])
def test_freezing_one_layer_freezes_a_shared_weight_but_not_the_source_of_a_view(
    kind: str, frozen: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    system = tied_pair(kind)
    model, x, y = system.build()
    system.tie(model)
    free = layers.Dense(2, name="free")
    model = keras.Sequential([*model.layers, free])  # something is left to train
    model.build((None, x.shape[1]))
    system = System(system.build, system.tie, chain("first", "second", "free", linear=("second",)), system.uses)
    at(model, frozen).trainable = False
    compiled(model, system, Adam(), mode)
    reference = reference_of(model, system, Adam())
    stops = {frozen} if (kind, frozen) == ("view", "second") else {"first", frozen}
    still = {path for path in reference.parameters if path.split("/")[0] in stops}
    reference.frozen = tuple(still)
    before = {path: array(at(model, path)) for path in still}
    go_on(model, reference, (x, y[:, :2]), system.uses, tmp_path)
    assert {id(v) for v in model.trainable_variables} == {
        id(at(model, path)) for path in reference.parameters if path not in still
    }
    for path, value in before.items():
        np.testing.assert_array_equal(array(at(model, path)), value)


def test_the_sources_regularizer_counts_once_and_the_targets_is_let_go(
    kind: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    own, other = keras.regularizers.L2(L2), keras.regularizers.L1(0.5)
    system = tied_pair(kind, {"kernel_regularizer": own}, {"kernel_regularizer": other})
    model, x, y = system.build()
    system.tie(model)
    compiled(model, system, Adam(), mode)
    reference = reference_of(model, system, Adam())

    def regularized(parameters: Any, inputs: Any, targets: Any) -> tuple[float, dict[str, Any]]:
        loss, gradients = system.tied(parameters, inputs, targets)
        kernel = parameters["first/kernel"]
        gradients["first/kernel"] = gradients["first/kernel"] + 2 * L2 * kernel
        return loss + L2 * float(np.sum(kernel**2)), gradients

    reference.gradients = regularized
    assert len(model.losses) == 1
    go_on(model, reference, (x, y), system.uses, tmp_path)


def test_the_sources_constraint_holds_after_every_step(kind: str, mode: dict[str, Any], tmp_path: Path) -> None:
    options = {"kernel_constraint": keras.constraints.NonNeg()}
    system = tied_pair(kind, options, {"kernel_constraint": keras.constraints.UnitNorm()})
    model, x, y = system.build()
    system.tie(model)
    compiled(model, system, Adam(), mode)
    reference = reference_of(model, system, Adam())

    def not_negative(parameters: dict[str, Any]) -> None:
        parameters["first/kernel"] = np.maximum(parameters["first/kernel"], 0)

    reference.after_step = not_negative
    assert np.any(array(at(model, "first/kernel")) < 0)
    go_on(model, reference, (x, y), system.uses, tmp_path)
    assert np.all(array(at(model, "second/kernel")) >= 0)


# --- mixed precision --------------------------------------------------------------------------------------


def in_bfloat16(kind: str) -> Callable[[Any, Any, Any], Any]:
    """The loss of the tied pair in plain TensorFlow: float32 variables, cast anew at each use."""

    def loss_of(variables: Mapping[str, Any], x: Any, y: Any) -> Any:
        def now(path: str) -> Any:
            return tf.cast(variables[path], tf.bfloat16)

        hidden = tf.tanh(tf.cast(x, tf.bfloat16) @ now("first/kernel") + now("first/bias"))
        if kind == "alias":
            output = hidden @ now("first/kernel") + now("first/bias")
        else:
            output = hidden @ tf.transpose(now("first/kernel")) + now("second/bias")
        return tf.reduce_mean((tf.cast(output, tf.float32) - tf.cast(y, tf.float32)) ** 2)

    return loss_of


def test_in_mixed_precision_the_gradients_of_both_uses_reach_the_float32_source(
    kind: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    system = tied_pair(kind)
    model, x, y = system.build()
    system.tie(model)
    assert at(model, "second/kernel").dtype == "float32"
    assert at(model, "second").compute_dtype == "bfloat16"
    compiled(model, system, Sgd(), mode)
    reference = reference_of(model, system, Sgd())
    reference.gradients = taped(in_bfloat16(kind))

    def train(one: Any) -> None:
        before = {path: array(at(one, path)) for path in reference.parameters}
        reference.parameters |= before
        one.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
        reference.fit(x, y, BATCH)
        for path, value in before.items():
            update, wanted = array(at(one, path)) - value, reference.parameters[path] - value
            # bfloat16 has eight bits, and XLA may keep more of them between two operations.
            np.testing.assert_allclose(update, wanted, rtol=2**-6, atol=2**-6 * np.abs(wanted).max(), err_msg=path)

    train(model)
    train(again(model, tmp_path))
