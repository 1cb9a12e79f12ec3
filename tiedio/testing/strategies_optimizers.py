"""The optimizers that random models are compiled with: every class of Keras, and every option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

_optimizers = keras.optimizers

OPTIMIZERS: Mapping[str, Callable[..., Any]] = {
    "adam": _optimizers.Adam,
    "sgd": lambda **options: _optimizers.SGD(momentum=0.9, **options),
    "adadelta": _optimizers.Adadelta,
    "adafactor": _optimizers.Adafactor,
    "adagrad": _optimizers.Adagrad,
    "adamax": _optimizers.Adamax,
    "adamw": _optimizers.AdamW,
    "amsgrad": lambda **options: _optimizers.Adam(amsgrad=True, **options),
    "ftrl": _optimizers.Ftrl,
    "lamb": _optimizers.Lamb,
    "lion": _optimizers.Lion,
    "muon": _optimizers.Muon,
    "nadam": _optimizers.Nadam,
    "rmsprop": lambda **options: _optimizers.RMSprop(momentum=0.9, centered=True, **options),
    "schedule_free_adamw": _optimizers.ScheduleFreeAdamW,
    "multi": lambda **_: _multi(),
}
"""Optimizers by name."""

OPTIONS: tuple[str, ...] = (
    "ema",
    "accumulate",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "weight_decay",
    "exclude_names",
    "exclude_variables",
    "schedule",
    "loss_scale",
)
"""What an optimizer can be told beside its class; those on excluding need a weight decay."""

FLOAT32_ONLY = frozenset({"global_clipnorm", "muon", "nadam", "schedule_free_adamw"})
"""What Keras 3.15.1 on TensorFlow does not train variables of another dtype with: an error, or what is no number."""

_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "ema": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    "accumulate": {"gradient_accumulation_steps": 2},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.01},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "weight_decay": {"weight_decay": 0.01},
}


def make_optimizer(name: str, options: tuple[str, ...], variables: list[Any]) -> Any:
    """Makes an optimizer.

    Args:
        name: a name in `OPTIMIZERS`.
        options: names in `OPTIONS`.
        variables: what it will train.

    Returns:
        A fresh optimizer, not built.

    Example:
        >>> make_optimizer("adam", ("ema",), []).use_ema
        True
    """
    rate: Any = 0.01
    if "schedule" in options:
        rate = keras.optimizers.schedules.ExponentialDecay(0.01, decay_steps=2, decay_rate=0.5)
    arguments: dict[str, Any] = {}
    for option in options:
        arguments |= _ARGUMENTS.get(option, {})
    optimizer = OPTIMIZERS[name](learning_rate=rate, **arguments)
    if "exclude_names" in options:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    if "exclude_variables" in options and variables:
        optimizer.exclude_from_weight_decay(var_list=variables[:1])
    if "loss_scale" in options:
        return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0, dynamic_growth_steps=2)
    return optimizer


def _multi() -> Any:
    """One optimizer for biases and another one for the rest."""
    biases = {".*bias": keras.optimizers.SGD(0.01, momentum=0.5)}
    default = keras.optimizers.Adam(0.01)
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(default_optimizer=default, optimizer_map=biases)
    )
