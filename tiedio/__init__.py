"""Save and load Keras models so that every shared weight is still shared."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiedio.api import clone, find_ties, load, load_weights, save, save_weights
    from tiedio.comparing import Difference, diff
    from tiedio.conversion import Conversion, LostTie, Repair, convert, find_lost_ties, repair
    from tiedio.errors import (
        BackendError,
        DamagedError,
        FormatError,
        LimitError,
        MismatchError,
        ModelError,
        NoSuchFileError,
        PathError,
        RebuildError,
        TiedioError,
        TiedLayerError,
        TieError,
        UnregisteredError,
        UnsafeError,
        ViewError,
    )
    from tiedio.frozen import FrozenTie, find_frozen_ties
    from tiedio.inspection import inspect, verify
    from tiedio.limits import Limits
    from tiedio.manifest import Manifest, Tie
    from tiedio.plotting import plot
    from tiedio.report import Report
    from tiedio.serialization import serializable
    from tiedio.tying import tie, untie
    from tiedio.views import View, reshape, slice, transpose  # noqa: A004 - as keras.ops.slice

__version__ = "0.1.0"

__all__ = [
    "save",
    "load",
    "save_weights",
    "load_weights",
    "clone",
    "find_ties",
    "tie",
    "untie",
    "transpose",
    "reshape",
    "slice",
    "inspect",
    "verify",
    "diff",
    "plot",
    "serializable",
    "find_frozen_ties",
    "convert",
    "repair",
    "find_lost_ties",
    "Conversion",
    "Difference",
    "FrozenTie",
    "Limits",
    "LostTie",
    "Manifest",
    "Repair",
    "Report",
    "Tie",
    "View",
    "TiedioError",
    "BackendError",
    "FormatError",
    "DamagedError",
    "LimitError",
    "MismatchError",
    "ModelError",
    "NoSuchFileError",
    "PathError",
    "RebuildError",
    "TieError",
    "TiedLayerError",
    "ViewError",
    "UnregisteredError",
    "UnsafeError",
    "__version__",
]

# Where each name lives. A name is imported when it is first asked for: `import tiedio` and `tiedio.inspect`
# must work, and be quick, where neither Keras nor a backend is installed.
_HOMES = {
    "save": "tiedio.api",
    "load": "tiedio.api",
    "save_weights": "tiedio.api",
    "load_weights": "tiedio.api",
    "clone": "tiedio.api",
    "find_ties": "tiedio.api",
    "tie": "tiedio.tying",
    "untie": "tiedio.tying",
    "transpose": "tiedio.views",
    "reshape": "tiedio.views",
    "slice": "tiedio.views",
    "View": "tiedio.views",
    "TieError": "tiedio.errors",
    "TiedLayerError": "tiedio.errors",
    "ViewError": "tiedio.errors",
    "inspect": "tiedio.inspection",
    "verify": "tiedio.inspection",
    "plot": "tiedio.plotting",
    "diff": "tiedio.comparing",
    "Difference": "tiedio.comparing",
    "serializable": "tiedio.serialization",
    "convert": "tiedio.conversion",
    "repair": "tiedio.conversion",
    "find_lost_ties": "tiedio.conversion",
    "Conversion": "tiedio.conversion",
    "LostTie": "tiedio.conversion",
    "Repair": "tiedio.conversion",
    "find_frozen_ties": "tiedio.frozen",
    "FrozenTie": "tiedio.frozen",
    "Limits": "tiedio.limits",
    "Manifest": "tiedio.manifest",
    "Report": "tiedio.report",
    "Tie": "tiedio.manifest",
    "TiedioError": "tiedio.errors",
    "BackendError": "tiedio.errors",
    "FormatError": "tiedio.errors",
    "DamagedError": "tiedio.errors",
    "LimitError": "tiedio.errors",
    "MismatchError": "tiedio.errors",
    "ModelError": "tiedio.errors",
    "NoSuchFileError": "tiedio.errors",
    "PathError": "tiedio.errors",
    "RebuildError": "tiedio.errors",
    "UnregisteredError": "tiedio.errors",
    "UnsafeError": "tiedio.errors",
}


if not TYPE_CHECKING:  # a type checker sees the imports above, and a misspelled name

    def __getattr__(name: str) -> object:
        """Import a public name on first use; an error of that import (no backend, say) reaches the caller."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
