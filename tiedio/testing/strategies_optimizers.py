"""The optimizers that random models are compiled with: every class of Keras, and every option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiedio.testing.strategies_new import Name, New


def _optimizer(cls: str, *args: Any, **kwargs: Any) -> New:
    return New(f"keras.optimizers.{cls}", args, kwargs)


OPTIMIZERS: Mapping[str, New] = {
    "adam": _optimizer("Adam"),
    "sgd": _optimizer("SGD", momentum=0.9),
    "adadelta": _optimizer("Adadelta"),
    "adafactor": _optimizer("Adafactor"),
    "adagrad": _optimizer("Adagrad"),
    "adamax": _optimizer("Adamax"),
    "adamw": _optimizer("AdamW"),
    "amsgrad": _optimizer("Adam", amsgrad=True),
    "ftrl": _optimizer("Ftrl"),
    "lamb": _optimizer("Lamb"),
    "lion": _optimizer("Lion"),
    "muon": _optimizer("Muon"),
    "nadam": _optimizer("Nadam"),
    "rmsprop": _optimizer("RMSprop", momentum=0.9, centered=True),
    "schedule_free_adamw": _optimizer("ScheduleFreeAdamW"),
    # One optimizer for biases and another one for the rest.
    "multi": _optimizer(
        "MultiOptimizer",
        _optimizer(
            "OptimizerMap",
            default_optimizer=_optimizer("Adam", 0.01),
            optimizer_map={".*bias": _optimizer("SGD", 0.01, momentum=0.5)},
        ),
    ),
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
_SCALED: dict[str, Any] = {"initial_scale": 4.0, "dynamic_growth_steps": 2}


def new_optimizer(name: str, options: tuple[str, ...]) -> New:
    """The call that makes an optimizer, without the loss scale that may be put around it.

    Args:
        name: a name in `OPTIMIZERS`.
        options: names in `OPTIONS`.

    Returns:
        The call.

    Example:
        >>> new_optimizer("sgd", ("clipnorm",)).code()
        'keras.optimizers.SGD(learning_rate=0.01, clipnorm=0.5, momentum=0.9)'
    """
    if name == "multi":  # its inner optimizers have a learning rate and options of their own
        return OPTIMIZERS[name]
    rate: Any = 0.01
    if "schedule" in options:
        rate = _optimizer("schedules.ExponentialDecay", 0.01, decay_steps=2, decay_rate=0.5)
    arguments: dict[str, Any] = {"learning_rate": rate}
    for option in options:
        arguments |= _ARGUMENTS.get(option, {})
    return OPTIMIZERS[name].given(**arguments)


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
    optimizer = new_optimizer(name, options).make()
    if "exclude_names" in options:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    if "exclude_variables" in options:
        optimizer.exclude_from_weight_decay(var_list=variables[:1])
    return _optimizer("LossScaleOptimizer", optimizer, **_SCALED).make() if "loss_scale" in options else optimizer


def optimizer_code(name: str, options: tuple[str, ...], model: str) -> list[str]:
    """The same as code.

    Args:
        name: a name in `OPTIMIZERS`.
        options: names in `OPTIONS`.
        model: what the model whose variables it trains is called.

    Returns:
        Lines that end with `optimizer` being the optimizer.

    Example:
        >>> optimizer_code("adam", (), "model")
        ['optimizer = keras.optimizers.Adam(learning_rate=0.01)']
    """
    lines = [f"optimizer = {new_optimizer(name, options).code()}"]
    if "exclude_names" in options:
        lines.append('optimizer.exclude_from_weight_decay(var_names=["bias"])')
    if "exclude_variables" in options:
        lines.append(f"optimizer.exclude_from_weight_decay(var_list={model}.trainable_variables[:1])")
    if "loss_scale" in options:
        scaled = _optimizer("LossScaleOptimizer", Name("optimizer"), **_SCALED)
        lines.append(f"optimizer = {scaled.code()}")
    return lines
