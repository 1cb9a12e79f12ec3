"""Before anything is made: all that a file names is looked up and judged, and all that it asks for is counted.

An allowlist (`tiedio.structure.allowed`) and caps (`tiedio.limits`). Nothing that a file names is imported or called;
if it names KerasHub, that is imported, as a whole, once everything else has passed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiedio import configs, keras_api
from tiedio.errors import LimitError
from tiedio.limits import Limits
from tiedio.manifest import SAFETENSORS_CODES, Manifest
from tiedio.structure import patterns, unfolding
from tiedio.structure.allowed import (
    HUB,
    Named,
    Refusal,
    file_arguments,
    is_of_a_library,
    judge,
    names_a_library,
    resolve,
    waits_for_hub,
    weight,
)
from tiedio.structure.findings import PART, Found, joined, raise_all

# What Keras revives from plain values under names that are no class's.
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}  # fmt: skip
_PAIRS = ("$dict", "$ordered")
_FEW = 50  # values of one part, such as a regularizer, which counts as a part already
_REST = "$rest"  # pairs whose keys are no plain names
_SMALL = 1_000  # an integer below it is not even looked at, unless Keras makes a list of so many
_NAME = 1_000  # letters of a name; nothing is registered under a longer one
_FIELDS = {"module", "class_name", "config", "registered_name"}
_WRITTEN = {"build_config", "compile_config", "shared_object_id", "name", "inbound_nodes"}  # beside them, by Keras
_PARTS_FOR_EACH = 16  # parts of configurations (initializers, policies, losses, …) for each object that is allowed

# Integers that name no size: however large they are, nothing grows with them.
_NO_SIZES = frozenset({
    "seed", "salt", "decay_steps", "first_decay_steps", "initial_decay_steps", "warmup_steps", "boundaries",
    "transition_steps", "ema_overwrite_frequency", "gradient_accumulation_steps", "dynamic_growth_steps",
    "max_tokens", "num_bins", "vocabulary", "mask_value", "mask_token", "oov_token",
    "shared_object_id",
})  # fmt: skip
# Integers from which a constructor or a call of Keras makes a Python list at once: how much less of them is allowed.
_LISTS = {"num_thresholds": 10, "ngrams": 1_000, "indices_or_sections": 100, "num_oov_indices": 10}


@dataclass(frozen=True, slots=True)
class Rules:
    """What an audit goes by.

    Args:
        custom_objects: what the caller passed, by name.
        safe_mode: whether code in the file, and what reads other files, is refused.
        limits: what a file of this size may ask for.
        sizes: sides of the tensors in the file: an integer that is one of them is no lie.
        foreign: registered names of what the file has from outside of Keras.
        written: whether layers may be written inside of configurations, as in Keras's own formats.
    """

    custom_objects: Mapping[str, Any]
    safe_mode: bool
    limits: Limits
    sizes: frozenset[int] = frozenset()
    foreign: frozenset[str] = frozenset()
    written: bool = False
    known: dict[Any, tuple[Any, Refusal | None]] = field(default_factory=dict, compare=False)
    """What names stand for, and what is said of it: a file has the same few names many times."""

    def verdict(self, named: Named) -> tuple[Any, Refusal | None]:
        """What a name stands for, or `None`, and why it is refused, if it is."""
        key = (named.module, named.class_name, named.registered_name, named.function, named.as_object)
        if key not in self.known:
            found = resolve(named, self.custom_objects, self.foreign)
            self.known[key] = found, judge(named, found, self.custom_objects, self.safe_mode)
        return self.known[key]

    def class_of(self, reference: Mapping[str, Any]) -> Any:
        """The class that a table's `class` entry names, or `None`."""
        return self.verdict(_object_named(reference, ""))[0]

    @staticmethod
    def of(manifest: Manifest, custom_objects: Mapping[str, Any], safe_mode: bool, limits: Limits) -> Rules:
        """The rules for a file with this manifest; a tensor without items may claim any side."""
        sides = frozenset(side for spec in manifest.tensors if 0 not in spec.shape for side in spec.shape)
        return Rules(custom_objects, safe_mode, limits, sides, frozenset(manifest.custom))


def audit_file(structure: Mapping[str, Any], training: Any, manifest: Manifest, rules: Rules, path: str) -> None:
    """Checks all of a file that may be revived.

    Args:
        structure: the table of the file.
        training: how its models are compiled.
        manifest: the manifest of the file.
        rules: what it is checked by.
        path: the file, for errors.

    Raises:
        LimitError: if it asks for more than the limits allow.
        FormatError: if it nests a layer in a configuration, calls an operation without a tensor, or puts an object
            where the manifest has none.
        UnsafeError: if it holds code, or names files, and safe mode is on.
        UnregisteredError: naming every class and function that is not known here.
    """
    if training["optimizers"] and rules.limits.objects != math.inf:
        patterns.require_quick(manifest, path)
    nodes = structure["nodes"]
    count = len(structure["objects"]) + len(nodes)
    _require_count(count, f"{count:,}", rules.limits, path)
    _require_count(*_work_of_planning(structure), rules.limits, path)
    known = [rules.class_of(entry["class"]) for entry in structure["objects"]]
    unfolded = unfolding.largest(structure["objects"], [is_of_a_library(cls) for cls in known])
    written_out = f"{unfolded:,.0f} if each is written out wherever it is held"
    _require_count(unfolded / _PARTS_FOR_EACH, written_out, rules.limits, path)
    roots = Counter(root.path for root in manifest.roots)
    variables = [[variable.regularizer, variable.constraint] for variable in manifest.variables]
    found: list[Found] = []
    for entry, record in zip(structure["objects"], manifest.objects, strict=True):
        places = {json.dumps(held) for held in entry["held"]}
        if not len(record.paths) - roots[record.path] == len(places) == len(entry["held"]):
            found.append(Found("damaged", "an object in other places than the manifest has", record.path))
        found += _entry_problems(entry, record.path or "the model", rules)
    found += [problem for node in nodes for problem in _node_problems(node, rules)]
    found += [*_problems(training, "@compile", rules), *_problems(variables, "a variable", rules)]
    parts = sum(problem.size for problem in found if problem.kind == "part")
    parts += _values_to_revive(structure, training, variables)
    _require_count(parts / _PARTS_FOR_EACH, f"{parts:,.0f} parts of configurations", rules.limits, path)
    found += _too_long_lists(found, rules)
    raise_all(found, path)
    if any(problem.kind == "hub" for problem in found):
        importlib.import_module(HUB)  # now every other name has passed, and this one is ours
        rules.known.clear()
        audit_file(structure, training, manifest, rules, path)


def audit_object(entry: Mapping[str, Any], place: str, rules: Rules) -> None:
    """Checks an object once more that turned out to have to be made: now its class has to be known."""
    raise_all(list(_entry_problems({**entry, "found_at": []}, place, rules)), place)


def audit_written(config: Any, rules: Rules, path: str, calls: int) -> int:
    """Checks a configuration of Keras's own formats, where layers are written inside each other.

    Args:
        config: the configuration.
        rules: what it is checked by; `written` is set.
        path: the file, for errors.
        calls: how many calls of layers stand in it.

    Returns:
        How many layers, operations and calls there are.

    Raises:
        LimitError, FormatError, UnsafeError, UnregisteredError: as `audit_file`.
    """
    found = list(_problems(config, "the model", rules))
    count = calls + sum(problem.kind == "object" for problem in found)
    _require_count(count, f"{count:,}", rules.limits, path)
    parts = sum(problem.size for problem in found if problem.kind == "part") - count
    _require_count(parts / _PARTS_FOR_EACH, f"{parts:,.0f} parts of configurations", rules.limits, path)
    found += _too_long_lists(found, rules)
    raise_all(found, path)
    if any(problem.kind == "hub" for problem in found):
        importlib.import_module(HUB)
        rules.known.clear()
        return audit_written(config, rules, path, calls)
    return count


def _object_named(reference: Mapping[str, Any], where: str) -> Named:
    module, name, registered = (reference[key] for key in ("module", "class_name", "registered_name"))
    return Named(where, module, name, registered, as_object=True)


def _require_count(count: float, shown: str, limits: Limits, path: str) -> None:
    assert limits.objects is not None
    if count > limits.objects:
        raise LimitError(
            "the file has more objects than its size allows",
            path=path,
            expected=f"at most {limits.objects:,} objects and calls, and {_PARTS_FOR_EACH} parts for each",
            found=shown,
            remedy=f"if you trust the file: limits=tiedio.Limits(objects={_at_least(count)})",
        )


def _at_least(count: float) -> str:
    return str(math.ceil(count)) if math.isfinite(count) else "math.inf"


def _work_of_planning(structure: Mapping[str, Any]) -> tuple[float, str]:
    """What it takes to find out which `Sequential` is built within which other one, in objects that take as long.

    Each of them is asked for all that it reaches; a file in which all hold all would take a minute for a megabyte.
    """
    objects, nodes = structure["objects"], structure["nodes"]
    called = {node["model"] for node in nodes if "model" in node}
    asked = sum(entry["kind"] == "sequential" for n, entry in enumerate(objects) if n in called)
    edges = sum(len(entry.get("layers", ())) + len(entry.get("operations", ())) for entry in objects)
    edges += sum(len(configs.references(entry.get("config"))) for entry in objects)
    found = f"{asked:,} sequential models among {edges:,} references and {len(nodes):,} calls"
    return max(asked * (edges + len(nodes)) / 500, edges / _PARTS_FOR_EACH), found


# --- what is wrong ------------------------------------------------------------------------------------


def _entry_problems(entry: Mapping[str, Any], place: str, rules: Rules) -> Iterator[Found]:
    named = _object_named(entry["class"], place)
    config = entry.get("config")
    found, refusal = rules.verdict(named)
    if found is not None or not entry["found_at"]:
        yield from _told(named, refusal)
    if entry["kind"] == "object" and found in (keras_api.Sequential, keras_api.Functional, keras_api.Model):
        yield Found("damaged", f"{named.title} as a single object", place)
    # If its owner's code makes it, nothing revives its config; if that does not, it is looked at again: `audit_object`.
    passed = () if not entry["found_at"] else ("unknown", "hub") if found is None else ("unknown",)
    plans = not (is_of_a_library(found) or names_a_library(named))
    yield from (p for p in _problems(config, place, rules, plans=plans) if p.kind not in passed)
    yield from _fact_problems(entry, place, rules)
    if isinstance(config, dict) and (is_of_a_library(found) or waits_for_hub(named)):
        yield from _file_problems(named, spelled_out(config), rules)


def _fact_problems(entry: Mapping[str, Any], place: str, rules: Rules) -> Iterator[Found]:
    """What is wrong in all that is revived for an object beside its configuration."""
    skipped = ("class", "config", "held", "found_at", "layers", "operations", "nodes", "seeds")
    yield from _problems({key: value for key, value in entry.items() if key not in skipped}, place, rules)


def _node_problems(node: Mapping[str, Any], rules: Rules) -> Iterator[Found]:
    if "args" in node:
        arguments = [node["args"], node.get("kwargs")]
        if not node.get("input") and not configs.references(arguments, "$tensor"):
            yield Found("damaged", "a call without a tensor, which would run at once", f"a call of {node['operation']}")
        yield from _problems(arguments, f"a call of object {node['operation']}", rules)


def _values_to_revive(structure: Mapping[str, Any], training: Any, variables: list[list[Any]]) -> int:
    """The values that Keras looks at, one by one, beside those in the configurations of objects."""
    arguments = configs.references([[node.get("args"), node.get("kwargs")] for node in structure["nodes"]], "$keras")
    extras = [entry["compile_arguments"] for entry in structure["objects"] if "compile_arguments" in entry]
    single = (*variables, *arguments, *extras)
    return _values_in(training) + sum(max(0, _values_in(value) - _FEW) for value in single)


def _values_in(value: Any) -> int:
    """How many values Keras looks at, one by one, in what it revives as a whole; it keeps containers twice."""
    count = 0
    stack = [value]
    while stack:
        item = stack.pop()
        count += 2 if isinstance(item, (list, dict)) else 1
        stack.extend(item if isinstance(item, list) else item.values() if isinstance(item, dict) else ())
    return count


def _too_long_lists(found: list[Found], rules: Rules) -> Iterator[Found]:
    """All lists that Keras makes of integers, together."""
    assert rules.limits.integer is not None
    total = sum(problem.size for problem in found if problem.kind == "list")
    if total > rules.limits.integer:
        texts = sorted({problem.text for problem in found if problem.kind == "list"})
        yield Found("integer", f"{joined(texts[:3])} and more of them, all together", "the file")


def _problems(record: Any, place: str, rules: Rules, *, plans: bool = False) -> Iterator[Found]:
    """What is wrong in a value that is revived, found by an explicit stack.

    Args:
        record: the value.
        place: where it is, for errors.
        rules: what it is checked by.
        plans: whether layers may be written in it: it is the configuration of a user's class, of which nothing but
            that class's own code makes anything.
    """
    limits = rules.limits
    assert limits.depth is not None
    assert limits.integer is not None
    small = min(_SMALL, limits.integer)
    stack: list[tuple[Any, str, int, str]] = [([record], place, 0, "")]  # containers only
    while stack:
        value, where, depth, key = stack.pop()
        if depth > limits.depth + 1:
            yield Found("depth", f"more than {limits.depth:,} levels", where)
            return
        items: Iterable[tuple[str, Any]]
        if type(value) is list:
            items = ((key, item) for item in value)
        else:
            value = spelled_out(value)
            if "class_name" in value:
                where, value = yield from _named_or_odd(value, where, rules, plans)
            if _mentions_in_keys(value):
                yield Found("damaged", "a key that stands for something else", where)
            # The key of a list, a tuple or a pair is that of the argument they are in.
            items = ((key if name.startswith("$") else name, item) for name, item in value.items())
        for name, item in items:
            kind = type(item)
            if kind is dict or kind is list:
                stack.append((item, where, depth + 1, name))
            elif kind is str:
                if ">" in item:
                    yield from _text_problems(item, where, rules)
            elif kind is int and (not -small < item < small or name in _LISTS):
                yield from _integer_problems(item, name, where, rules)


def _named_or_odd(
    value: dict[str, Any], where: str, rules: Rules, plans: bool
) -> Generator[Found, None, tuple[str, dict[str, Any]]]:
    """What is wrong with a dict that has a class's name; gives back its place, and what is left to be looked at."""
    name = value["class_name"]
    if not isinstance(name, str):
        if "config" in value:  # Keras would go by another key
            yield Found("damaged", f"{str(name)[:40]} for the name of a class", where)
        return where, value
    if "config" not in value and "module" not in value:
        return where, value
    config = value.get("config")
    own = config.get("name") if isinstance(config, dict) else None
    inside = own if isinstance(own, str) and own else where
    yield from _named_problems(value, inside, rules, plans)
    if "config" in value:  # these are judged now; without it each text is one that Keras may look up
        told = ("class_name", "registered_name", *(("config",) if name == "function" else ()))
        value = {part: item for part, item in value.items() if part not in told or not isinstance(item, str)}
    return inside, value


def spelled_out(value: dict[str, Any]) -> dict[str, Any]:
    """A dict that is written as pairs, as the dict that it decodes to; keys that are no strings name nothing."""
    if len(value) != 1:
        return value
    key, pairs = next(iter(value.items()))
    if key not in _PAIRS or not isinstance(pairs, list):
        return value
    named = {p[0]: p[1] for p in pairs if _is_named(p)}
    return {**named, _REST: [p for p in pairs if not _is_named(p)]}


def _is_named(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and not pair[0].startswith("$")


def _mentions_in_keys(value: Mapping[str, Any]) -> bool:
    """Whether a key among pairs is one that is revived: what it says then is not what was judged."""
    rest = value.get(_REST)
    if not rest:
        return False
    keys = [pair[0] for pair in rest if isinstance(pair, list) and pair]
    return any(
        configs.references(keys, key) for key in ("$keras", "$object", "$variable", "$tensor", "$constant", "$shared")
    )


def _text_problems(value: str, where: str, rules: Rules) -> Iterator[Found]:
    """A text that is the name of something registered: Keras takes it for that, wherever it stands."""
    if len(value) < _NAME:
        named = Named(where, None, "function", value, value)
        found, refusal = rules.verdict(named)
        if found is not None:
            yield from _told(named, refusal)


def _named_problems(value: Mapping[str, Any], where: str, rules: Rules, plans: bool) -> Iterator[Found]:
    """A part of a configuration that Keras would revive, and what is wrong with it."""
    name, config = value["class_name"], value.get("config")
    if name == "__lambda__" or name in _VALUES:
        yield PART
    if name == "__lambda__":
        if rules.safe_mode:
            yield Found("unsafe", "Python code (a lambda)", where)
        return
    if name in _VALUES:
        dtype = config.get("dtype") if isinstance(config, dict) else None
        if isinstance(dtype, str) and dtype not in SAFETENSORS_CODES and dtype != "string":
            yield Found("damaged", f"a value of dtype {dtype[:40]!r}", where)
        return
    registered = value.get("registered_name", name)  # as Keras takes it
    named = Named(
        where,
        _text(value.get("module")),
        name,
        _text(registered),
        config if name == "function" and isinstance(config, str) else None,
    )
    found, refusal = rules.verdict(named)
    yield Found("part", "", size=weight(found))
    misplaced = refusal is not None and refusal.kind == "misplaced"
    is_plan = misplaced and (rules.written or (plans and not issubclass(found, keras_api.Model)))
    if is_plan and rules.written:
        yield Found("object", "")
    yield from _told(named, None if is_plan else refusal)
    if is_of_a_library(found) or waits_for_hub(named):
        told = _WRITTEN if rules.written else {"build_config"} if is_plan else set()
        beside = sorted(value.keys() - _FIELDS - {_REST} - told)
        if beside:
            yield Found("damaged", f"{', '.join(beside[:5])} beside the configuration of {named.title}"[:200], where)
        if isinstance(config, dict):
            yield from _file_problems(named, spelled_out(config), rules)


def _told(named: Named, refusal: Refusal | None) -> Iterator[Found]:
    if refusal is None:
        return
    if refusal.kind == "unknown" and waits_for_hub(named) and importlib.util.find_spec(HUB) is not None:
        yield Found("hub", named.title, named.where)
    else:
        yield Found(refusal.kind, refusal.why or named.title, named.where)


def _file_problems(named: Named, config: Mapping[str, Any], rules: Rules) -> Iterator[Found]:
    for name in file_arguments(config) if rules.safe_mode else ():
        yield Found("unsafe", f"{named.title}({name}={str(config[name])[:60]!r}): a file or an address", named.where)


def _integer_problems(value: int, key: str, where: str, rules: Rules) -> Iterator[Found]:
    assert rules.limits.integer is not None
    limit = rules.limits.integer / _LISTS.get(key, 1)
    honest = key in _NO_SIZES or (value in rules.sizes and key not in _LISTS)
    if abs(value) > limit and not honest:
        yield Found("integer", f"{key or 'a number'} = {value:,} (at most {limit:,.0f})", where)
    elif key in _LISTS:
        yield Found("list", f"{key} = {value:,}", where, abs(value) * _LISTS[key])


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
