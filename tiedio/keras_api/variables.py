"""Variables: raw values, facts, and their bookkeeping."""

from __future__ import annotations

from typing import Any

from tiedio.keras_api.classes import keras
from tiedio.keras_api.deferred import HANDLE_NAME, deferral_of


def set_variable_facts(variable: Any, **facts: Any) -> None:
    """Sets what a variable's constructor would take (`name`, `path`, `trainable`, …) on a living variable."""
    for name, value in facts.items():
        setattr(variable, f"_{name}", value)
    if "path" not in facts or deferral_of(variable) is not None:
        return  # what is made later takes its name from the path
    raw = raw_value(variable)
    if hasattr(raw, HANDLE_NAME):
        setattr(raw, HANDLE_NAME, names_in_optimizers(variable)[1])


def names_in_optimizers(variable: Any) -> tuple[str, str]:
    """What `exclude_from_weight_decay(var_names=...)` is matched with, now and when the variable has been loaded."""
    raw = raw_value(variable)
    if not hasattr(raw, HANDLE_NAME):
        return variable.name, variable.name
    return raw.name, f"{variable.path}:0"


def raw_value(variable: Any) -> Any:
    """The backend's own variable or array, without autocast."""
    return variable._value


def created_trainable(variable: Any) -> bool:
    """The flag that the backend's variable was made with; it cannot be changed afterwards."""
    deferral = deferral_of(variable)
    own = getattr(raw_value(variable) if deferral is None else deferral, "trainable", True)
    return own if isinstance(own, bool) else True


def device_of(variable: Any) -> str:
    """The device on which a variable's value is stored; of a view, that of its source."""
    raw = raw_value(getattr(variable, "source", variable))
    return str(getattr(raw, "device", ""))


def layout_of(variable: Any) -> Any:
    """The distribution layout that a variable was made with, or `None`; of a view, that of its source."""
    return getattr(variable, "source", variable)._layout


def storage_dtype(variable: Any) -> str:
    """The dtype that the variable is stored in, whatever autocast scope is active."""
    return str(keras.backend.standardize_dtype(variable._dtype))
