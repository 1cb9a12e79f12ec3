"""Optimizers with a state, and compile configurations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tiedio.testing.zoo_base import Case, case, register, share, trained
from tiedio.testing.zoo_places import kernels, stack

if TYPE_CHECKING:
    from collections.abc import Callable

layers = keras.layers
optimizers = keras.optimizers


@keras.saving.register_keras_serializable(package="tiedio_zoo")
def weighted_error(y_true: Any, y_pred: Any) -> Any:
    """A loss that is a function of the user's."""
    return keras.ops.mean(keras.ops.square(y_true - y_pred) * 3.0, axis=-1)


def _tied() -> tuple[Any, Any, Any]:
    """Three dense layers; the first and the last share a kernel."""
    model, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three")))
    share(model.get_layer("three"), "_kernel", model.get_layer("one"))
    return model, x, y


def _optimized(make: Callable[[], Any], **compile_args: Any) -> Case:
    model, x, y = _tied()
    trained(model, x, y, steps=3, optimizer=make(), **compile_args)
    return Case(model, x, y, same=kernels("one", "three"))


def _schedule() -> Any:
    return optimizers.schedules.ExponentialDecay(0.05, decay_steps=2, decay_rate=0.5, staircase=True)


for _name, _make in {
    "adam": lambda: optimizers.Adam(0.01),
    "adam_with_amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adam_with_weight_decay_and_clipping": lambda: optimizers.Adam(0.01, weight_decay=0.2, clipnorm=0.1),
    "adam_with_a_schedule": lambda: optimizers.Adam(_schedule()),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.3),
    "sgd": lambda: optimizers.SGD(0.05),
    "sgd_with_momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "sgd_with_nesterov_momentum_and_a_schedule": lambda: optimizers.SGD(_schedule(), momentum=0.9, nesterov=True),
}.items():
    register(f"tied_model_trained_with_{_name}", partial(_optimized, _make))

register("a_loss_function_of_ones_own", partial(_optimized, lambda: "adam", loss=weighted_error, metrics=["mse"]))
register("steps_compiled_without_jit", partial(_optimized, lambda: "sgd", run_eagerly=False, jit_compile=False))
register("several_steps_per_execution", partial(_optimized, lambda: "adam", steps_per_execution=2))


@case
def compiled_and_never_trained() -> Case:
    model, x, y = _tied()
    trained(model, x, y, steps=0)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def optimizer_built_and_never_used() -> Case:
    model, x, y = _tied()
    trained(model, x, y, steps=0)
    model.optimizer.build(model.trainable_variables)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def optimizer_built_with_the_variables_in_another_order() -> Case:
    model, x, y = _tied()
    model.compile(optimizer=optimizers.Adam(0.01), loss="mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables[::-1])
    for _ in range(2):
        model.train_on_batch(x, y)
    return Case(model, x, y, same=kernels("one", "three"))


def _excluded(**which: Any) -> Case:
    model, x, y = _tied()
    names = which.pop("layers", None)
    if names:
        which["var_list"] = [model.get_layer(name).kernel for name in names]
    optimizer = optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(**which)
    trained(model, x, y, optimizer=optimizer)
    return Case(model, x, y, same=kernels("one", "three"))


register("a_shared_variable_is_excluded_from_weight_decay", partial(_excluded, layers=["three"]))
register("two_variables_are_excluded_from_weight_decay", partial(_excluded, layers=["two", "one"]))
register("variables_are_excluded_from_weight_decay_by_name", partial(_excluded, var_names=["bias"]))


@case
def a_layer_was_frozen_after_the_optimizer_was_built() -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    model.get_layer("two").trainable = False
    return Case(model, x, y, same=kernels("one", "three"))


@case
def the_shared_variable_was_frozen_after_the_optimizer_was_built() -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    model.get_layer("three").trainable = False
    return Case(model, x, y, same=kernels("one", "three"))


@case
def a_layer_was_frozen_before_the_optimizer_was_built() -> Case:
    model, x, y = _tied()
    model.get_layer("two").trainable = False
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def the_learning_rate_was_changed_by_hand() -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    model.optimizer.learning_rate = 0.123
    return Case(model, x, y, same=kernels("one", "three"))


@case
def optimizer_state_that_is_not_a_number() -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    first = model.optimizer._momentums[0]
    strange = np.array(first)
    strange.reshape(-1).view("uint32")[:3] = (
        0x7FC00001,
        0xFF800000,
        0x80000000,
    )  # a NaN with a payload, -inf, -0
    first.assign(strange)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def tied_model_trained_on_in_two_stages() -> Case:
    """Trained, tied, compiled anew and trained again: the optimizer is the second one's."""
    model, x, y = stack(layers.Dense(4, name="one"), layers.Dense(4, name="two"))
    trained(model, x, y)
    share(model.get_layer("two"), "_kernel", model.get_layer("one"))
    trained(model, x, y, optimizer=optimizers.SGD(0.02, momentum=0.8))
    return Case(model, x, y, same=kernels("one", "two"))
