"""How much a file may ask for before it is refused: counts, depths and sizes, in proportion to the file itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import inf

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may claim. `None` is the default, which grows with the size of the file; `math.inf` is no limit.

    A file is refused before it costs more than it is worth: a few hundred bytes must not reserve gigabytes or keep
    a process busy for hours. Whoever trusts a file that is refused raises the limit that the error names.

    Args:
        memory: bytes that the texts of the header may take once they are parsed, and values that initializers draw
            only to be replaced. Default: 56 MiB and 3 times the size of the file.
        objects: layers, models, metrics, operations and their calls, with 16 parts of configurations for each, such
            as initializers. A loss counts as one object, an optimizer as ten; so does what holds the same part
            several times, each time, 16 such parts as one object. Default: 2,000 and one for each 16 KiB of the file.
        depth: levels of nesting in a configuration. Default: 200.
        integer: the largest integer in a configuration that is no dimension of a stored tensor; those from which Keras
            makes lists at once (`num_thresholds`) may be a tenth of it, or less, all together. Default: 1,048,576.
        unlisted: bytes of variables whose values are not in the file, such as those of metrics. Default: 16 MiB and
            the size of the file.

    Example:
        >>> import tiedio
        >>> tiedio.Limits(objects=50_000).objects
        50000
    """

    memory: float | None = None
    objects: float | None = None
    depth: float | None = None
    integer: float | None = None
    unlisted: float | None = None

    @staticmethod
    def off() -> Limits:
        """No limits at all: for a file whose origin is beyond doubt.

        Example:
            >>> import tiedio
            >>> tiedio.Limits.off().depth
            inf
        """
        return Limits(**{field.name: inf for field in dataclasses.fields(Limits)})

    def for_file(self, size: int) -> Limits:
        """The same limits, with those that are `None` worked out for a file of `size` bytes.

        Example:
            >>> from tiedio.limits import Limits
            >>> Limits(depth=10).for_file(1 << 20).depth, Limits().for_file(1 << 20).objects
            (10, 2064)
        """
        defaults = {
            "memory": 56 * _MIB + 3 * size,
            "objects": 2_000 + size // (16 << 10),
            "depth": 200,
            "integer": 1 << 20,
            "unlisted": 16 * _MIB + size,
        }
        given = {name: getattr(self, name) for name in defaults}
        return Limits(**{name: defaults[name] if value is None else value for name, value in given.items()})
