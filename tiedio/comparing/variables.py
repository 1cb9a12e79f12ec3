"""Variables, ties, shared objects and what hooks stored, of two files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from tiedio.comparing.encoded import compare
from tiedio.comparing.found import Found, each_once, listed
from tiedio.comparing.sides import Match, Side
from tiedio.manifest import Slot, Stored, Variable

_FLAGS = (
    "dtype", "shape", "name", "trainable", "created_trainable", "autocast", "aggregation", "synchronization",
    "overwrite_with_gradient",
)  # fmt: skip
_OF_CODE = ("regularizer", "constraint")  # a file of weights does not tell them


def _seen_by(side: Side, optimizer: bool) -> Callable[[str], bool]:
    """Whether a path is looked at: without optimizers, none of theirs is."""
    prefixes = tuple(f"{one.path}/" for one in side.manifest.optimizers)
    return lambda path: optimizer or not path.startswith(prefixes)


def pairs_of_variables(match: Match) -> list[tuple[str, Variable, Variable]]:
    """The variables that stand for each other, each of them at least once: path in the first file, and both."""
    pairs: dict[tuple[str, str], tuple[str, Variable, Variable]] = {}
    for mine, theirs in match.alike():
        one, other = match.a.variables[mine], match.b.variables[theirs]
        pairs.setdefault((one.slots[0].path, other.slots[0].path), (one.slots[0].path, one, other))
    return [pairs[key] for key in each_once(pairs)]


def compare_variables(match: Match, optimizer: bool, found: Found) -> None:
    """Compares what belongs to each variable but its value."""
    alike = match.alike()
    told = ({mine for mine, _ in alike}, {theirs for _, theirs in alike})
    for n, side in enumerate((match.a, match.b)):
        seen = _seen_by(side, optimizer)
        for variable in side.manifest.variables:
            path = variable.slots[0].path
            if seen(path) and not any(slot.path in told[n] for slot in variable.slots):
                look = f"{variable.dtype} {_shape(variable.shape)}"
                found.add("variables", path, "", *((look, None) if n == 0 else (None, look)))
    both = match.a.structure is not None and match.b.structure is not None
    seen = _seen_by(match.a, optimizer)
    renamed = bool(match.renamed)
    for path, one, other in pairs_of_variables(match):
        if not seen(path):
            continue
        for key in (*_FLAGS, *(_OF_CODE if both else ())):
            mine, theirs = getattr(one, key), getattr(other, key)
            if mine == theirs or (key == "name" and renamed):
                continue
            if key == "shape":
                found.add("variables", path, key, _shape(mine), _shape(theirs))
            elif key in _OF_CODE:
                apart = compare(mine, theirs, ({}, {}))
                if apart is not None:
                    found.add("variables", path, f"{key}{'.' if apart.place else ''}{apart.place}", *apart.texts())
            else:
                found.add("variables", path, key.replace("_", " "), str(mine), str(theirs))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"


def compare_ties(match: Match, optimizer: bool, found: Found) -> None:
    """Compares which slots hold one variable, and which views of it."""
    back = {theirs: mine for mine, theirs in reversed(match.slots)}
    told: list[dict[frozenset[tuple[str, str]], tuple[str, str]]] = []
    for n, side in enumerate((match.a, match.b)):
        seen = _seen_by(side, optimizer)
        ties = {}
        for variable in side.manifest.variables:
            if len(variable.slots) > 1 and seen(variable.slots[0].path):
                slots = [_named(slot, back if n else {}) for slot in variable.slots]
                ties[frozenset(slots)] = (slots[0][0], _tie_text(slots))
        told.append(ties)
    for key, (path, text) in told[0].items():
        if key in told[1]:
            found.count("ties")
        else:
            found.add("ties", path, "", text, None)
    for key, (path, text) in told[1].items():
        if key not in told[0]:
            found.add("ties", path, "", None, text)


def _named(slot: Slot, back: Mapping[str, str]) -> tuple[str, str]:
    return back.get(slot.path, slot.path), "" if slot.view is None else str(slot.view)


def _tie_text(slots: Sequence[tuple[str, str]]) -> str:
    shown_ = [f"{path} as its {view}" if view else path for path, view in slots[1:6]]
    return f"= {' = '.join(shown_)}{f' and {len(slots) - 6} more' if len(slots) > 6 else ''}"


def compare_sharing(match: Match, found: Found) -> None:
    """Compares which places hold one object."""
    a, b = ({one.path: one for one in side.manifest.objects} for side in (match.a, match.b))
    there, back = _all_of(match.objects), _all_of((theirs, mine) for mine, theirs in match.objects)
    for path, partners in there.items():
        if len(partners) > 1:
            found.add("shared objects", path, "", f"one object, where B has {len(partners)}: {listed(partners)}", None)
    for partners in back.values():
        if len(partners) > 1:
            found.add(
                "shared objects", partners[0], "", None, f"one object, where A has {len(partners)}: {listed(partners)}"
            )
    for path, partners in there.items():
        if len(partners) > 1 or len(back[partners[0]]) > 1:
            continue
        mine, theirs = a[path].paths, b[partners[0]].paths
        other_names = bool(match.renamed) or path != partners[0]
        different = len(mine) != len(theirs) if other_names else set(mine) != set(theirs)
        if different:
            found.add("shared objects", path, "held at", listed(mine), listed(theirs))
        elif len(mine) > 1:
            found.count("shared objects")


def _all_of(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one, other in pairs:
        found.setdefault(one, []).append(other)
    return found


def pairs_of_stored(match: Match, optimizer: bool) -> tuple[list[tuple[str, Stored | None, Stored | None]], set[str]]:
    """What saving hooks gave, by place in the words of the first file; and the names of variables of the first file."""
    back = {theirs: mine for mine, theirs in reversed(match.objects)}
    told: list[dict[str, Stored]] = []
    for n, side in enumerate((match.a, match.b)):
        optimizers = {one.path for one in side.manifest.optimizers}
        told.append(
            {
                f"{back.get(one.object, one.object) if n else one.object}: {one.hook} {one.key}": one
                for one in side.manifest.stored
                if optimizer or one.object not in optimizers
            }
        )
    places = dict.fromkeys((*told[0], *told[1]))
    slots = {variable.slots[0].path for variable in match.a.manifest.variables}
    return [(place, told[0].get(place), told[1].get(place)) for place in places], slots


def compare_hooks(match: Match, optimizer: bool, found: Found) -> None:
    """Compares dtype and shape of what saving hooks gave, and of constants."""
    for place, a, b in pairs_of_stored(match, optimizer)[0]:
        looks = [None if one is None else f"{one.dtype} {_shape(one.shape)}" for one in (a, b)]
        if looks[0] != looks[1]:
            found.add("hooks", place, "", *looks)
    constants = [{one.name: one for one in side.manifest.constants} for side in (match.a, match.b)]
    for name in dict.fromkeys((*constants[0], *constants[1])):
        specs = [one.get(name) for one in constants]
        looks = [None if one is None else f"{one.dtype} {_shape(one.shape)}" for one in specs]
        if looks[0] != looks[1]:
            found.add("structure", name, "", *looks)
