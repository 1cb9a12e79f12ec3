"""What an audit comes upon, and the one error that tells of all of it."""

from __future__ import annotations

from dataclasses import dataclass

from tiedio.errors import DAMAGED, FormatError, LimitError, UnregisteredError, UnsafeError

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What an audit comes upon: a `part` of a configuration, KerasHub (`hub`), or something that is not as it must be.

    That is `unknown`, `unsafe`, `misplaced`, `damaged` or the name of a limit. A part counts as `size` parts, and a
    `list` that Keras makes has that size, in integers of the limit.
    """

    kind: str
    text: str
    where: str = ""
    size: float = 1


PART = Found("part", "")
"""A part of a configuration that counts as one."""


def raise_all(found: list[Found], path: str) -> None:
    """Raises the one error that tells of all problems, what is most dangerous first."""
    kinds = {problem.kind for problem in found}
    unknown = sorted({problem.text for problem in found if problem.kind == "unknown"})
    for kind, limit in (("depth", "depth"), ("integer", "integer")):
        if kind in kinds:
            raise LimitError(
                f"a configuration goes beyond a limit ({kind})",
                path=path,
                expected="a configuration within limits that fit the size of the file",
                found=_listed(found, kind),
                remedy=f"if you trust the file: limits=tiedio.Limits({limit}=...)",
            )
    if "unsafe" in kinds:
        raise UnsafeError(
            "the file asks for what could run code or read other files",
            path=path,
            expected="no code, and no names of other files, in safe mode",
            found=_listed(found, "unsafe") + (f"; not known here: {joined(unknown)}" if unknown else ""),
            remedy="use named, registered functions; or, if you trust the file, pass safe_mode=False",
        )
    for kind, what in (("misplaced", "a layer is written inside a configuration"), ("damaged", "a strange value")):
        if kind in kinds:
            raise FormatError(
                what,
                path=path,
                expected="a structure as tiedio.save writes it",
                found=_listed(found, kind),
                remedy=DAMAGED,
            )
    if unknown:
        raise UnregisteredError(
            f"{len(unknown)} classes or functions are not known here"
            if len(unknown) > 1
            else "a class or function is not known here",
            path=path,
            expected="classes of Keras, registered ones, or ones passed as custom_objects",
            found=joined(unknown),
            remedy="import the code that defines them and register them with"
            " @keras.saving.register_keras_serializable(), or pass custom_objects={name: class}",
        )


def _listed(found: list[Found], kind: str) -> str:
    texts = sorted({f"{problem.text} in {problem.where[:80]!r}" for problem in found if problem.kind == kind})
    return joined(texts)


def joined(texts: list[str]) -> str:
    """These texts as one, cut to what an error may hold."""
    shown = [text if len(text) <= 200 else text[:199] + "…" for text in texts[:_SHOWN]]
    return ", ".join(shown) + (f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
