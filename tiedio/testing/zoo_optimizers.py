"""Every optimizer of Keras, each on a model with a tie; options, schedules, and optimizers inside optimizers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from tiedio.testing.zoo_base import Case, case, floats, integers, register, share, trained
from tiedio.testing.zoo_places import kernels, stack

if TYPE_CHECKING:
    from collections.abc import Callable

layers = keras.layers
optimizers = keras.optimizers
schedules = optimizers.schedules
serializable = keras.saving.register_keras_serializable(package="tiedio_zoo")


def _tied() -> tuple[Any, Any, Any]:
    """Three dense layers; the first and the last share a kernel."""
    model, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three")))
    share(model.get_layer("three"), "_kernel", model.get_layer("one"))
    return model, x, y


def _optimized(make: Callable[[Any], Any], *, steps: int = 3) -> Case:
    model, x, y = _tied()
    trained(model, x, y, steps=steps, optimizer=make(model))
    return Case(model, x, y, same=kernels("one", "three"))


def _optimized_by(make: Callable[[], Any]) -> Case:
    return _optimized(lambda _model: make())


@serializable
def half_of_a_tenth() -> float:
    """A learning rate that is a function of the user's."""
    return 0.05


@serializable
def one_for_each_layer(variable: Any) -> Any:
    """Chooses an optimizer by the path of the variable."""
    return optimizers.Adam(0.02) if "two" in variable.path else optimizers.SGD(0.1, momentum=0.5)


@serializable
class Slowing(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's."""

    def __init__(self, first: float) -> None:
        self.first = first

    def __call__(self, step: Any) -> Any:
        return self.first / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {"first": self.first}


@serializable
class Heavy(keras.optimizers.Optimizer):
    """An optimizer of the user's, with state in a list, a dict, an attribute and a number that a step changes."""

    def __init__(self, learning_rate: float = 0.05, drag: float = 0.8, **settings: Any) -> None:
        super().__init__(learning_rate=learning_rate, **settings)
        self.drag = drag

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            self.speeds = self.add_optimizer_variables(variables, "speed")
            self.notes = {"largest": self.add_variable((), name="largest"), "each": [self.add_variable((2,))]}
            self.last = self.add_variable((), name="last")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        speed = self.speeds[self._get_variable_index(variable)]
        self.assign(speed, self.drag * speed - learning_rate * gradient)
        self.assign_add(variable, speed * (1.0 + self.notes["largest"]))
        self.assign(self.notes["largest"], keras.ops.maximum(self.notes["largest"], keras.ops.max(speed)))
        self.assign_add(self.notes["each"][0], [1.0, 2.0])
        self.assign(self.last, keras.ops.sum(speed))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "drag": self.drag}


@serializable
class Around(keras.optimizers.Optimizer):
    """An optimizer of the user's around another one, half as fast."""

    def __init__(self, inner: Any, **settings: Any) -> None:
        super().__init__(learning_rate=1.0, **settings)
        self.inner = inner

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            self.inner.build(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if not self.built:
            self.build(trainable_variables)
        self.inner.apply([grad / 2 for grad in grads], trainable_variables)
        self._iterations.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.inner)
        return {"name": self.name, "inner": inner}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        inner = keras.saving.deserialize_keras_object(config.pop("inner"), custom_objects=custom_objects)
        return cls(inner, **config)


def _excluding(optimizer: Any, **which: Any) -> Any:
    optimizer.exclude_from_weight_decay(**which)
    return optimizer


def _parts(default: Any, **others: Any) -> Any:
    """One optimizer for each layer that is named, and one for the rest."""
    return optimizers.OptimizerMap(default, {f"{name}/.*": one for name, one in others.items()})


def _one_twice(_model: Any) -> Any:
    momentum, adam = optimizers.SGD(0.05, momentum=0.5), optimizers.Adam(0.02)
    return optimizers.MultiOptimizer(
        optimizers.OptimizerMap(momentum, {"one/.*": adam, "two/kernel": adam, "two/bias": momentum})
    )


CLASSES: dict[str, Callable[[], Any]] = {
    "Adadelta": lambda: optimizers.Adadelta(0.5),
    "Adafactor": lambda: optimizers.Adafactor(0.05),
    "Adagrad": lambda: optimizers.Adagrad(0.05, initial_accumulator_value=0.3),
    "Adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.2),
    "Adamax": lambda: optimizers.Adamax(0.01),
    "Ftrl": lambda: optimizers.Ftrl(0.05, l1_regularization_strength=0.1, beta=0.1),
    "Lamb": lambda: optimizers.Lamb(0.02),
    "Lion": lambda: optimizers.Lion(0.01),
    "LossScaleOptimizer": lambda: optimizers.LossScaleOptimizer(
        optimizers.SGD(0.05, momentum=0.9), initial_scale=8.0, dynamic_growth_steps=2
    ),
    "MultiOptimizer": lambda: optimizers.MultiOptimizer(
        _parts(optimizers.SGD(0.05, momentum=0.9), one=optimizers.Adam(0.01)), loss_scale_factor=4.0
    ),
    "Muon": lambda: optimizers.Muon(0.02, exclude_layers=["two"], weight_decay=0.1, adam_weight_decay=0.2),
    "Nadam": lambda: optimizers.Nadam(0.01),
    "RMSprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "SGD": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "ScheduleFreeAdamW": lambda: optimizers.ScheduleFreeAdamW(0.02, warmup_steps=3),
}
"""One of each class that Keras exports, by the name of the class; a test holds the list against Keras's."""

for _class, _new in CLASSES.items():
    register(f"tied_model_trained_with_every_optimizer_{_class}", partial(_optimized_by, _new))

for _name, _make in {
    "an_average": lambda _: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "an_average_that_takes_over_every_second_step": lambda _: optimizers.SGD(
        0.05, use_ema=True, ema_overwrite_frequency=2
    ),
    "gradients_accumulated_half_way": lambda _: optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "gradients_accumulated_beside_an_average": lambda _: optimizers.SGD(
        0.05, momentum=0.9, gradient_accumulation_steps=4, use_ema=True
    ),
    "a_fixed_loss_scale": lambda _: optimizers.Adam(0.01, loss_scale_factor=8.0),
    "gradients_clipped_by_value": lambda _: optimizers.Adam(0.01, clipvalue=0.1),
    "gradients_clipped_by_their_global_norm": lambda _: optimizers.Adam(0.01, global_clipnorm=0.1),
    "an_adafactor_without_relative_steps": lambda _: optimizers.Adafactor(0.05, relative_step=False),
    "a_loss_scale_that_has_just_grown": lambda _: optimizers.LossScaleOptimizer(
        optimizers.Adam(0.01), initial_scale=2.0, dynamic_growth_steps=3
    ),
    "accumulation_and_an_average_inside_a_loss_scale": lambda _: optimizers.LossScaleOptimizer(
        optimizers.Adam(0.01, use_ema=True, gradient_accumulation_steps=2), initial_scale=8.0
    ),
    "a_loss_scale_inside_a_loss_scale": lambda _: optimizers.LossScaleOptimizer(
        optimizers.LossScaleOptimizer(optimizers.Adam(0.01))
    ),
    "muon_inside_a_loss_scale": lambda _: optimizers.LossScaleOptimizer(optimizers.Muon(0.02)),
    "parts_inside_a_loss_scale": lambda _: optimizers.LossScaleOptimizer(
        optimizers.MultiOptimizer(_parts(optimizers.RMSprop(0.01), three=optimizers.Adam(0.01)))
    ),
    "one_optimizer_for_two_of_three_parts": _one_twice,
    "an_optimizer_for_a_part_that_is_not_there": lambda _: optimizers.MultiOptimizer(
        _parts(optimizers.Adam(0.01), nothing=optimizers.SGD(0.1))
    ),
    "optimizers_that_a_function_of_ones_own_chooses": lambda _: optimizers.MultiOptimizer(one_for_each_layer),
    "an_optimizer_of_ones_own": lambda _: Heavy(0.02),
    "an_optimizer_of_ones_own_around_another": lambda _: Around(Heavy(0.02)),
    "an_optimizer_of_ones_own_for_a_part": lambda _: optimizers.MultiOptimizer(
        _parts(Heavy(0.02), two=optimizers.Adam(0.01))
    ),
    "a_learning_rate_that_is_a_function": lambda _: optimizers.SGD(half_of_a_tenth, momentum=0.5),
    "a_schedule_of_ones_own": lambda _: optimizers.Adam(Slowing(0.05)),
    "a_cosine_that_warms_up": lambda _: optimizers.SGD(
        schedules.CosineDecay(0.05, 10, warmup_steps=5, warmup_target=0.2)
    ),
    "a_cosine_that_restarts": lambda _: optimizers.SGD(schedules.CosineDecayRestarts(0.1, 2, t_mul=1.5)),
    "an_inverse_time_schedule": lambda _: optimizers.SGD(schedules.InverseTimeDecay(0.1, 3, 0.5, staircase=True)),
    "a_piecewise_schedule": lambda _: optimizers.SGD(schedules.PiecewiseConstantDecay([1, 4], [0.1, 0.05, 0.03])),
    "a_polynomial_schedule": lambda _: optimizers.SGD(schedules.PolynomialDecay(0.1, 2, power=2.0, cycle=True)),
    "no_decay_by_name_inside_a_loss_scale": lambda _: optimizers.LossScaleOptimizer(
        _excluding(optimizers.AdamW(0.01, weight_decay=0.5), var_names=["bias"])
    ),
    "no_decay_for_a_shared_variable_in_a_part": lambda model: optimizers.MultiOptimizer(
        _parts(
            optimizers.SGD(0.01),
            one=_excluding(optimizers.AdamW(0.01, weight_decay=0.5), var_list=[model.get_layer("three").kernel]),
        )
    ),
    "no_decay_by_list_and_by_name": lambda model: _excluding(
        optimizers.SGD(0.05, weight_decay=0.3), var_list=[model.get_layer("two").kernel], var_names=["bias", "gamma"]
    ),
}.items():  # fmt: skip
    register(f"tied_model_trained_with_{_name}", partial(_optimized, _make))


register(
    "no_decay_for_a_variable_before_the_optimizer_is_built",
    partial(
        _optimized,
        lambda model: _excluding(optimizers.AdamW(0.1, weight_decay=0.5), var_list=[model.get_layer("one").kernel]),
        steps=0,
    ),
)


@case
def an_optimizer_that_another_one_is_around_in_a_second_model() -> Case:
    """The first model compiles with an optimizer, the second with a loss scale around that same one."""
    first, x, y = _tied()
    second = keras.Model(first.input, first.get_layer("two").output, name="second")
    momentum = optimizers.SGD(0.05, momentum=0.9)
    trained(first, x, y, optimizer=momentum)
    trained(second, x, y, steps=0, optimizer=optimizers.LossScaleOptimizer(momentum))
    models = {"first": first, "second": second}
    return Case(
        models,
        {"first": x, "second": x},
        {"first": y},
        same=lambda m: [[m["first"].optimizer, m["second"].optimizer.inner_optimizer]],
    )


@case
def the_learning_rate_gave_way_to_a_schedule() -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    model.optimizer.learning_rate = schedules.ExponentialDecay(0.05, 2, 0.5)
    model.train_on_batch(x, y)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def an_inner_optimizer_and_a_layer_that_was_frozen_after_it_was_built() -> Case:
    model, x, y = _tied()
    trained(model, x, y, optimizer=optimizers.LossScaleOptimizer(optimizers.Adam(0.01)))
    model.get_layer("two").trainable = False
    return Case(model, x, y, same=kernels("one", "three"))


@case
def muon_looks_at_paths_of_embeddings_and_of_layers_that_it_leaves_out() -> Case:
    ids = keras.Input((3,), dtype="int32", name="ids")
    embedding = layers.Embedding(7, 4, name="embedding")
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="left_out")
    x = layers.Dense(1, name="head")(two(one(embedding(ids))))
    model = keras.Model(ids, x, name="model")
    share(two, "_kernel", one)
    tokens, y = integers(7, 5, 3), floats(5, 3, 1)
    trained(model, tokens, y, optimizer=optimizers.Muon(0.02, exclude_layers=["left_.*"], weight_decay=0.1))
    return Case(model, tokens, y, same=kernels("one", "left_out"))
