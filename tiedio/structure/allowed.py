"""What a file may name: what Keras and KerasHub make of plain values, and what the user registered or passed.

Nothing is imported here: a name is looked up among what is loaded already, and judged by what it stands for.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tiedio import keras_api

HUB = "keras_hub"
LIBRARIES = ("keras", HUB, "keras_nlp", "tensorflow", "tensorflow_text")
"""Packages that register classes and functions of their own: that they are registered makes nothing of them safe."""

# Modules of Keras's public API whose functions only compute; loaders, downloads and the like are elsewhere.
_FUNCTION_MODULES = (
    "keras.activations", "keras.losses", "keras.metrics", "keras.initializers", "keras.regularizers",
    "keras.constraints", "keras.ops", "keras.random",
)  # fmt: skip
# These stand among them and make what they are told to, without an audit.
_REVIVING = ("get", "deserialize", "serialize")
# KerasHub registers all functions of its public modules, those that upload and train too.
_REGISTERED_FUNCTIONS = frozenset({"keras_hub>gelu_approximate", "keras_nlp>gelu_approximate"})

_PARTS = (
    keras_api.keras.optimizers.Optimizer, keras_api.keras.optimizers.OptimizerMap, keras_api.LearningRateSchedule,
    keras_api.Loss, keras_api.Metric, keras_api.keras.Initializer, keras_api.keras.Regularizer,
    keras_api.keras.constraints.Constraint, keras_api.keras.DTypePolicy, keras_api.keras.Quantizer,
    keras_api.keras.quantizers.QuantizationConfig, keras_api.SeedGenerator,
)  # fmt: skip
_OBJECTS = (keras_api.Operation, keras_api.Metric, keras_api.SeedGenerator)

# In parts: how much longer than an initializer these take to make, and how much more they hold.
_WEIGHTS = (
    (keras_api.BaseOptimizer, 160), (keras_api.SeedGenerator, 32), (keras_api.Metric, 16), (keras_api.Loss, 16),
)  # fmt: skip

_RUNS_OTHER_FILES = {
    "TFSMLayer": "it runs a SavedModel from a path",
    "TorchModuleWrapper": "it runs a pickle",
}
# Arguments of constructors that take a path or an address where they also take the thing itself.
_FILES = frozenset(
    {"vocabulary", "merges", "proto", "filepath", "path", "file", "filename", "url", "preset", "directory"}
)
# Arguments that are text and nothing else, whatever it looks like.
_WORDS = frozenset({"name", "oov_token", "mask_token"})


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function that a file names, and where.

    `function` is the function's name, if it is one; `as_object` tells an object of the table from a part of a
    configuration.
    """

    where: str
    module: str | None
    class_name: str
    registered_name: str | None
    function: str | None = None
    as_object: bool = False

    @property
    def title(self) -> str:
        """How errors name it."""
        return self.function or self.registered_name or f"{self.module}.{self.class_name}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something named is not allowed. `kind` is `unknown`, `unsafe` or `misplaced`."""

    kind: str
    why: str = ""


def resolve(named: Named, custom_objects: Mapping[str, Any], foreign: Collection[str] = ()) -> Any:
    """What a name stands for, or `None`; whatever it is, it need not be allowed.

    A class is looked up by its registered name and a function by its own, as Keras does.

    Args:
        named: the name.
        custom_objects: what the caller passed, by name.
        foreign: names of functions that are not Keras's own, though Keras may have one of the name.
    """
    name = named.function if named.class_name == "function" else named.registered_name
    if name is not None:
        # What the caller passed comes first, as where it is revived.
        given = custom_objects.get(name)
        found = keras_api.keras.saving.get_registered_object(name, custom_objects={}) if given is None else given
        if found is not None:
            return found
    if _package(named.module) not in (*LIBRARIES, "builtins"):
        return None
    if named.class_name == "function":
        return None if name in foreign else _public_function(named)
    public = keras_api.public_symbol(f"{named.module}.{named.class_name}")
    if isinstance(public, type):
        return public
    # A class that is not exported, such as the operation behind `keras.ops.add`.
    found = vars(sys.modules[named.module]).get(named.class_name) if named.module in sys.modules else None
    return found if isinstance(found, type) and issubclass(found, keras_api.KerasSaveable) else None


def _public_function(named: Named) -> Any:
    modules = _FUNCTION_MODULES if named.module == "builtins" else (named.module,)
    for module in modules:
        if module in _FUNCTION_MODULES or (module or "").startswith("keras.ops."):
            found = keras_api.public_symbol(f"{module}.{named.function}")
            if found is not None and named.function not in _REVIVING:
                return found
    return None


def judge(named: Named, found: Any, custom_objects: Mapping[str, Any], safe_mode: bool) -> Refusal | None:
    """Whether what a name stands for may be made or called for a file.

    Args:
        named: the name.
        found: what it stands for, or `None`.
        custom_objects: what the caller passed; these are allowed whatever they are.
        safe_mode: whether what runs code of other files is refused.
    """
    if found is None:
        return Refusal("unknown")
    if any(found is given for given in custom_objects.values()):
        return None
    if not is_of_a_library(found):
        return None
    if isinstance(found, types.FunctionType):
        name = named.function or ""
        known = ">" not in name or name in _REGISTERED_FUNCTIONS
        return None if known and named.class_name == "function" else Refusal("unknown")
    if not isinstance(found, type) or named.class_name == "function":
        return Refusal("unknown")
    if safe_mode and found.__name__ in _RUNS_OTHER_FILES:
        return Refusal("unsafe", f"{named.title}: {_RUNS_OTHER_FILES[found.__name__]}")
    if named.as_object:
        return None if issubclass(found, _OBJECTS) else Refusal("unknown")
    if issubclass(found, keras_api.Operation):
        return Refusal("misplaced")
    return None if issubclass(found, (*_PARTS, *_hub_parts())) else Refusal("unknown")


def weight(found: Any) -> int:
    """As how many parts of a configuration this counts; code of the user counts as one, whatever it does."""
    if not (isinstance(found, type) and is_of_a_library(found)):
        return 1
    return next((size for cls, size in _WEIGHTS if issubclass(found, cls)), 1)


def is_of_a_library(found: Any) -> bool:
    """Whether a class or function belongs to one of the libraries whose registered names prove nothing."""
    return _package(getattr(found, "__module__", None)) in LIBRARIES


def names_a_library(named: Named) -> bool:
    """Whether a name claims to be of one of those libraries."""
    return _package(named.module) in LIBRARIES


def waits_for_hub(named: Named) -> bool:
    """Whether a name may be one of KerasHub's, which is not imported yet."""
    if HUB in sys.modules or (named.function is not None and named.function not in _REGISTERED_FUNCTIONS):
        return False
    return _package(named.module) == HUB or (named.function or named.registered_name or "").startswith(f"{HUB}>")


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _hub_parts() -> tuple[type, ...]:
    hub = sys.modules.get(HUB)
    return () if hub is None else (hub.samplers.Sampler,)


def file_arguments(config: Mapping[str, Any]) -> list[str]:
    """The arguments of a class of Keras or KerasHub that name a file or an address."""
    texts = {name: value for name, value in config.items() if isinstance(value, str) and name not in _WORDS}
    return sorted(name for name, value in texts.items() if name in _FILES or "://" in value)
