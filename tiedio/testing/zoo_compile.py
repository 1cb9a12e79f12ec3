"""Compile configurations: losses, metrics and weights in lists and dicts, with options, and of one's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from tiedio.testing.zoo_base import Case, case, floats, register, share, trained
from tiedio.testing.zoo_optimizers import Heavy
from tiedio.testing.zoo_places import kernels, stack

if TYPE_CHECKING:
    from collections.abc import Sequence

layers, losses, metrics = keras.layers, keras.losses, keras.metrics
serializable = keras.saving.register_keras_serializable(package="tiedio_zoo")


@serializable
class TimesError(keras.losses.Loss):
    """A loss class of the user's."""

    def __init__(self, factor: float = 2.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.factor = factor

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred), -1) * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@serializable
class Above(keras.metrics.Metric):
    """A metric class of the user's: how many predictions were above a limit."""

    def __init__(self, limit: float = 0.5, **settings: Any) -> None:
        super().__init__(**settings)
        self.limit = limit
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.count.assign_add(keras.ops.sum(keras.ops.cast(y_pred > self.limit, "float32")))

    def result(self) -> Any:
        return self.count

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "limit": self.limit}


@serializable
def distance(y_true: Any, y_pred: Any) -> Any:
    """A loss that is a function of the user's."""
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


def _two_heads(*, frozen: Sequence[str] = (), **compile_args: Any) -> Case:
    """A classifier and a regression on two layers that share a kernel."""
    inputs = keras.Input((4,), name="inputs")
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    hidden = one(inputs)
    kind = layers.Dense(3, activation="softmax", name="kind")(hidden)
    model = keras.Model(inputs, [kind, layers.Dense(1, name="size")(two(hidden))], name="model")
    share(two, "_kernel", one)
    for name in frozen:
        model.get_layer(name).trainable = False
    x, y = floats(5, 4), [keras.utils.to_categorical([0, 1, 2, 1, 0], 3), floats(5, 1)]
    trained(model, x, y, **compile_args)
    return Case(model, x, y, same=kernels("one", "two"))


# Made anew for each case: a metric has a state, and each case is a model of its own.
for _name, _arguments in {
    "losses_and_metrics_in_lists": lambda: {
        "loss": ["categorical_crossentropy", losses.Huber(0.2, reduction="sum")],
        "loss_weights": [0.3, 0.7],
        "metrics": [["accuracy", metrics.AUC(thresholds=[0.2, 0.7], curve="PR")], ["mae"]],
    },
    "losses_and_metrics_in_dicts": lambda: {
        "loss": {"kind": losses.CategoricalCrossentropy(label_smoothing=0.1), "size": TimesError(3.0)},
        "loss_weights": {"size": 0.6, "kind": 0.3},
        "metrics": {"kind": [metrics.Precision(thresholds=0.3, class_id=1)], "size": [Above(0.2), "mse"]},
        "weighted_metrics": {"size": ["mae"]},
    },
    "a_loss_for_one_output_only": lambda: {
        "loss": {"kind": "categorical_crossentropy", "size": None}, "metrics": {"kind": "acc"},
        "frozen": ["two", "size"],
    },
    "functions_of_ones_own_as_loss_and_metric": lambda: {
        "loss": [losses.CategoricalFocalCrossentropy(alpha=0.3, gamma=1.5), distance],
        "metrics": [[metrics.Recall(thresholds=[0.2, 0.4])], [metrics.MeanMetricWrapper(distance, name="far")]],
    },
    "losses_in_other_precisions": lambda: {
        "loss": [losses.CategoricalCrossentropy(axis=1, dtype="float64"), losses.MeanSquaredError(dtype="bfloat16")],
        "metrics": [
            [metrics.CategoricalCrossentropy(label_smoothing=0.2, dtype="float64")], [metrics.MeanSquaredError()]
        ],
    },
    "metrics_with_options": lambda: {
        "loss": ["categorical_crossentropy", "mse"],
        "metrics": [
            [
                metrics.TopKCategoricalAccuracy(k=2), metrics.OneHotIoU(3, [0, 2]),
                metrics.SensitivityAtSpecificity(0.4, num_thresholds=4, class_id=1),
                metrics.FBetaScore(average="micro", beta=2.0, threshold=0.4), metrics.TruePositives(thresholds=[0.1]),
                metrics.AUC(num_thresholds=4, multi_label=True, num_labels=3),
            ],
            [metrics.R2Score(class_aggregation="variance_weighted_average"), metrics.BinaryIoU(threshold=0.3)],
        ],
    },
    "an_optimizer_of_ones_own": lambda: {"loss": ["categorical_crossentropy", "mse"], "optimizer": Heavy(0.02)},
    "a_loss_and_a_metric_that_are_one_object_for_both_outputs": lambda: _once(losses.LogCosh(), Above(0.1)),
    "several_steps_in_one_traced_function": lambda: {
        "loss": ["mse", "mse"], "run_eagerly": False, "jit_compile": False, "steps_per_execution": 3,
        "auto_scale_loss": False,
    },
}.items():  # fmt: skip
    register(f"compiled_with_{_name}", partial(lambda make: _two_heads(**make()), _arguments))


def _once(loss: Any, metric: Any) -> dict[str, Any]:
    return {"loss": [loss, loss], "metrics": [[metric], [metric]]}


@case
def one_metric_in_two_models_and_twice_in_one_of_them() -> Case:
    first, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "two")))
    second = keras.Model(first.input, first.get_layer("one").output, name="second")
    metric = metrics.MeanAbsoluteError(name="both")
    trained(first, x, y, metrics=[metric])
    trained(second, x, y, steps=0, metrics=[metric], weighted_metrics=[metric])

    def same(models: Any) -> list[list[Any]]:
        one, two = (models[name].get_layer("one") for name in ("first", "second"))
        arguments = [models[name]._compile_config.config for name in ("first", "second")]
        of_second = arguments[1]["metrics"][0], arguments[1]["weighted_metrics"][0]
        return [[one, two], [arguments[0]["metrics"][0], *of_second]]

    return Case({"first": first, "second": second}, {"first": x, "second": x}, {"first": y}, same=same)
