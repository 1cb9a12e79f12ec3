"""Optimizers and compiled models."""

from __future__ import annotations

from typing import Any


def optimizer_variables(optimizer: Any) -> list[Any]:
    """The model variables that a built optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def excluded_from_weight_decay(optimizer: Any) -> tuple[list[int], str | None]:
    """Positions (in `optimizer_variables`) and name pattern that `exclude_from_weight_decay` noted."""
    keys = vars(optimizer).get("_exclude_from_weight_decay") or set()
    pattern = vars(optimizer).get("_exclude_from_weight_decay_pattern")
    positions = [i for i, v in enumerate(optimizer_variables(optimizer)) if optimizer._var_key(v) in keys]
    return positions, None if pattern is None else pattern.pattern


def compile_arguments(model: Any) -> dict[str, Any]:
    """The arguments that `compile` was called with, as Keras noted them."""
    return dict(model._compile_config.config)
