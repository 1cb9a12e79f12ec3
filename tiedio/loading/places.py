"""Which places of the models are filled, and what is missing, unexpected or different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiedio import describe, hooks, keras_api, slots, values
from tiedio.errors import MismatchError
from tiedio.loading.viewing import Unlike
from tiedio.loading.work import Options, Pair, Read, Work
from tiedio.manifest import Manifest
from tiedio.matching import Tree, align, read_mapping, select, tree_of_file
from tiedio.report import Mismatch
from tiedio.weights import Roots


def matched(roots: Roots, manifest: Manifest, path: str, options: Options) -> Work:
    """Both sides, place by place.

    Raises:
        ModelError: if a model is not built.
        MismatchError: if the prefix or the mapping names what is not there.
    """
    walk = slots.walk(roots)
    describe.require_built(walk)
    graphs = [o.path for o in walk.objects if isinstance(o.value, (keras_api.Functional, keras_api.Sequential))]
    model_tree = Tree.of(
        [(found.paths, type(found.value).__name__) for found in walk.objects],
        [slot.path for slot in walk.slots],
        graphs,
    )
    file_tree = tree_of_file(manifest)
    chosen = select(file_tree, [root.path for root in manifest.roots], options.prefix)
    paths = walk.object_paths()
    if None in roots and (options.prefix or manifest.roots[0].name is None):
        starts = [(paths[id(next(iter(roots.values())))], chosen[0])]
    else:
        by_name = {root.name: root.path for root in manifest.roots}
        starts = [(paths[id(root)], by_name[name]) for name, root in roots.items() if name in by_name]
    mapping = read_mapping(options.mapping, model_tree, file_tree, options.prefix)
    found = align(model_tree, file_tree, starts, mapping)
    part = file_tree.below(chosen)
    in_part = file_tree.reached(chosen)
    return Work(walk, manifest, path, options, model_tree, file_tree, found, in_part, frozenset(part))


def compare_places(work: Work, pairs: Sequence[Pair], unlike: Sequence[Unlike]) -> None:
    """Notes what is missing, unexpected and mismatched among the models' own variables."""
    here, there = {id(slot.variable) for slot, _ in pairs}, {record.slots[0].path for _, record in pairs}
    here |= {id(one.slot.variable) for one in unlike if one.slot.view is None}
    there |= {one.record.slots[0].path for one in unlike if one.view is None}
    work.missing += [group[0].path for group in work.walk.by_variable() if id(group[0].variable) not in here]
    records = work.records()
    views = {slot.path for v in work.manifest.variables for slot in v.slots if slot.view is not None}
    left = {records[path].slots[0].path for path in work.part if path not in views} - there
    work.unexpected += [v.slots[0].path for v in work.manifest.variables if v.slots[0].path in left]
    work.compare(pairs)


def compare_flags(work: Work, pairs: Sequence[Pair]) -> None:
    """Notes the places whose `trainable` flag is not the file's: the model's own code has set it."""
    different = [slot.path for slot, record in pairs if bool(slot.variable.trainable) != record.trainable]
    work.trainable = list(dict.fromkeys(different))


def compare_extra_places(work: Work, pairs: Sequence[Pair]) -> None:
    """Notes places that only one side has, but whose variable both have: a tie more or less."""
    if work.options.ties == "model" or not work.options.strict:
        return
    here, there = {id(slot.variable) for slot, _ in pairs}, {record.slots[0].path for _, record in pairs}
    records = work.records()
    only_model = {slot.path for slot in work.walk.slots if id(slot.variable) in here} - {s.path for s, _ in pairs}
    only_file = set(work.part) - {theirs for _, theirs in work.found.slots}
    for path in sorted(only_model):
        work.mismatched.append(Mismatch(path, "no such place", "a place that shares its variable"))
    for path in sorted(only_file):
        if records[path].slots[0].path in there:
            work.mismatched.append(Mismatch(path, "a place that shares its variable", "no such place"))


def compare_hooked(work: Work) -> None:
    """Notes objects without a partner on the other side whose hooks store something: no variable may tell of them."""
    here, there = ({side[n] for side in work.found.objects} for n in (0, 1))
    objects = work.objects()
    work.missing += [
        path or "the model"
        for path, value in objects.items()
        if path not in here and hooks.has_hooks(value) and not isinstance(value, hooks.DISCRETIZATION)
    ]
    left = [one for one in work.manifest.stored if one.object in work.part_objects - there]
    work.unexpected += [slots.join(one.object, f"{hooks.MARKS[one.hook]}/{one.key}") for one in left]


def compare_vocabularies(work: Work, read: Read, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Notes lookup layers whose vocabulary is not the file's: their code or `adapt` gives it, and no loading.

    Args:
        work: the loading.
        read: the bytes of a tensor by its name.
        configs: what the structure of the file says of vocabularies and boundaries, by object.
    """
    objects = work.objects()
    stored: dict[str, dict[str, Any]] = {}
    for one in work.manifest.stored:
        if one.hook == "vocabulary":
            stored.setdefault(one.object, {})[one.key] = one
    for mine, theirs in work.found.objects:
        found = {key: values.stored_array(read, one) for key, one in stored.get(theirs, {}).items()}
        layer = objects[mine]
        same = hooks.holds_vocabulary(layer, found) if found else hooks.is_told(layer, configs.get(theirs, {}))
        if not same:
            if work.options.strict:
                raise MismatchError(
                    "the layer has another vocabulary than the file, so nothing was loaded",
                    path=mine or "the model",
                    expected="the vocabulary that it had when the weights were saved",
                    found="another one, or none",
                    remedy="adapt the layer or call set_vocabulary before loading",
                )
            work.skipped.append((mine, "another vocabulary in the file"))
