"""Optimizers and compiled models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def optimizer_variables(optimizer: Any) -> list[Any]:
    """The model variables that a built optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def excluded_from_weight_decay(optimizer: Any, variables: Sequence[Any]) -> tuple[list[Any], str | None]:
    """The variables among `variables`, and the name pattern, that `exclude_from_weight_decay` noted."""
    keys = vars(optimizer).get("_exclude_from_weight_decay") or set()
    pattern = vars(optimizer).get("_exclude_from_weight_decay_pattern")
    excluded = [v for v in variables if optimizer._var_key(v) in keys] if keys else []
    return excluded, None if pattern is None else pattern.pattern


def move_exclusions(optimizer: Any, moves: Sequence[tuple[Any, Sequence[Any]]]) -> None:
    """Lets variables stand for others in what `exclude_from_weight_decay` noted; the optimizer may be unbuilt.

    Args:
        optimizer: the optimizer.
        moves: variable, and those that are left out of weight decay in its place.
    """
    noted = vars(optimizer).get("_exclude_from_weight_decay")
    moved = [move for move in moves if noted and optimizer._var_key(move[0]) in noted]
    if moved:
        gone = {optimizer._var_key(old) for old, _ in moved}
        come = {optimizer._var_key(new) for _, instead in moved for new in instead}
        optimizer._exclude_from_weight_decay = (noted - gone) | come
        optimizer._exclude_from_weight_decay_cache = {}


def uncompile(model: Any, attributes: Sequence[str] = ()) -> None:
    """Undoes a `compile` that a constructor called; `attributes` are those that the class's own one has set."""
    for name in ("optimizer", "_compile_config", "_compiled_trainable_state", *attributes):
        if name in vars(model):
            delattr(model, name)
    for name in ("_compile_loss", "_compile_metrics", "_loss_tracker", "loss"):
        setattr(model, name, None)
    model.compiled = False


def compile_arguments(model: Any) -> dict[str, Any]:
    """The arguments that `compile` was called with, as Keras noted them; none if a class compiles past Keras."""
    noted = vars(model).get("_compile_config")
    return {} if noted is None else dict(noted.config)
