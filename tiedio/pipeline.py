"""The two pipelines: model → snapshot, and parsed file → model."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import (
    __version__,
    closing,
    describe,
    hooks,
    keras_api,
    moments,
    optimizers,
    serialization,
    session,
    slots,
    strict_json,
    training,
    values,
)
from tiedio.alias import alias
from tiedio.allowance import Allowance
from tiedio.container.single import as_bytes
from tiedio.container.writing import Tensor
from tiedio.custom import custom_objects_of
from tiedio.errors import DAMAGED, FormatError, MismatchError, RebuildError, TiedioError, one_line
from tiedio.guarding import guard_ties
from tiedio.inspection import FORMAT_KEY, MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY
from tiedio.manifest import FORMAT, Manifest, Root, Slot, Stored, TensorSpec, Variable
from tiedio.structure import shape
from tiedio.structure.audit import Rules, audit_file
from tiedio.structure.meter import Meter, meter_for
from tiedio.structure.rebuild import Rebuilder
from tiedio.structure.refusals import refuse_in_compile, refuse_lambdas
from tiedio.structure.table import tabulate

Roots = Mapping[str | None, Any]
Read = Callable[[str], np.ndarray[Any, Any]]

_OF_THE_FILE = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that `save` writes, and the live objects it was taken from.

    `sources` has what gives the bytes of each tensor, and `living` the variables whose values are held there.
    """

    walk: slots.Walk
    manifest: Manifest
    structure: dict[str, Any]
    training: dict[str, Any]
    sources: dict[str, Any]
    living: dict[str, Any]

    def parts(self) -> list[Any]:
        """Every object and variable of the live models."""
        return [*(found.value for found in self.walk.objects), *(slot.variable for slot in self.walk.slots)]

    def metadata(self) -> dict[str, str]:
        """The metadata of the file."""
        return {
            FORMAT_KEY: str(FORMAT),
            MANIFEST_KEY: self.manifest.to_json(),
            STRUCTURE_KEY: strict_json.dumps(self.structure),
            TRAINING_KEY: strict_json.dumps(self.training),
        }

    def tensors(self) -> list[Tensor]:
        """The tensors of the file; each value is taken when its bytes are due."""
        return values.tensors_of(self.manifest.tensors, self.sources)

    def renewed(self) -> Snapshot:
        """The same, with the values of now."""
        return dataclasses.replace(self, sources=self.sources | moments.hold_all(self.living))


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's header, parsed and validated, nothing of it made yet."""

    manifest: Manifest
    structure: dict[str, Any]
    training: dict[str, Any]
    path: str

    @staticmethod
    def of(
        manifest: Manifest, structure: str, training_text: str, path: str, allowance: Allowance | None = None
    ) -> Parsed:
        """Parses the two other texts of a header.

        Raises:
            FormatError: if they are not JSON or not of the manifest's shape, or would take more than is allowed.
        """
        table = strict_json.loads(structure, f"{path}: structure", allowance)
        compiled = strict_json.loads(training_text, f"{path}: training", allowance)
        own = [[variable.regularizer, variable.constraint] for variable in manifest.variables]
        shape.refuse_newer_keys(own, ("$numpy",), manifest.format, path)
        shape.check(table, compiled, len(manifest.objects), len(manifest.optimizers), path, manifest.format)
        return Parsed(manifest, table, compiled, path)


@dataclass(frozen=True, slots=True)
class Restored:
    """Rebuilt models: roots by name, the walk over them, the variable of each tensor, and what is expected of them.

    `set_by_hand` has the variables, by identity, that no code of a class makes; `filled` those that have their values;
    `waiting` refers to all that were made without storage; `meter` has counted what was made.
    """

    roots: dict[str | None, Any]
    walk: slots.Walk
    objects: list[Any]
    variables: dict[str, Any]
    trained: training.Training
    hooked: list[tuple[str, Any]]
    expected: Manifest
    set_by_hand: dict[int, Any]
    filled: dict[int, Any]
    waiting: Sequence[weakref.ref[Any]]
    meter: Meter | None = None


def take_snapshot(roots: Roots, optimizer: bool, *, live: bool = False) -> Snapshot:
    """Describes live models.

    Args:
        roots: the models by name.
        optimizer: whether it tells how they are compiled.
        live: whether the snapshot stays in this process, where the modules are that a lambda reads.

    Raises:
        ModelError: if something in them cannot be described.
    """
    walk = slots.walk(roots)
    beginning = moments.Beginning.of(walk, training.optimizers_of(walk) if optimizer else [])
    describe.require_built(walk)
    if not live:
        refuse_lambdas(walk, optimizer)
    table = tabulate(walk)
    for found in walk.objects if optimizer else ():
        if isinstance(found.value, keras_api.Model) and found.value.compiled:
            refuse_in_compile(slots.join(found.path, "@compile"), keras_api.compile_arguments(found.value))
    trained = training.describe_training(walk) if optimizer else training.NOTHING
    variables = (*describe.describe_variables(walk), *trained.variables())
    constants = tuple(
        TensorSpec(name, str(_dtype_name(value)), tuple(int(size) for size in np.shape(value)))
        for name, value in table.constants.items()
    )
    by_slot = {slot.path: slot.variable for slot in (*walk.slots, *trained.slots)}
    sources = {spec.slots[0].path: by_slot[spec.slots[0].path] for spec in variables}
    kept = hooks.describe(training.owners(walk, optimizer), sources)
    paths = {id(found.value): found.path for found in walk.objects}
    manifest = Manifest(
        format=FORMAT,
        versions=session.versions() | {"tiedio": __version__},
        roots=tuple(Root(name, paths[id(root)]) for name, root in roots.items()),
        objects=describe.describe_objects(walk),
        variables=variables,
        optimizers=trained.optimizers,
        constants=constants,
        custom=tuple(sorted(custom_objects_of(walk))),
        stored=kept.stored,
    )
    living = {} if live else sources
    sources = sources | moments.hold_all(living) | table.constants | kept.sources
    beginning.require_same()
    return Snapshot(walk, manifest, table.record, trained.record, sources, living)


def _dtype_name(value: Any) -> str:
    return str(keras_api.keras.backend.standardize_dtype(value.dtype))


def restore(
    parsed: Parsed,
    *,
    rules: Rules,
    constant: Callable[[str], np.ndarray[Any, Any]],
    compile: bool,
    foreign: Mapping[int, Any] | None = None,
    drawn: bool = False,
    read: Read | None = None,
    share: bool = True,
) -> Restored:
    """Rebuilds the models of a parsed file, tied and compiled, with variables that have no values yet.

    Args:
        parsed: the file.
        rules: what the file is checked by before anything is made of it.
        constant: the bytes of a constant by its name.
        compile: whether models are compiled.
        foreign: objects and variables, by identity, that belong to another model and must not be in this one.
        drawn: whether initializers run, so that variables have the values of a model that was just built.
        read: the bytes of a tensor by its name, if the models' variables (not those of optimizers) are to be filled
            before optimizers are built, which would ask for storage.
        share: whether variables may share these bytes.

    Raises:
        LimitError, UnregisteredError, UnsafeError, RebuildError, MismatchError: as `tiedio.load` says.
    """
    stateless = keras_api.get_global("stateless_scope") is not None
    if stateless or keras_api.is_tracing():
        raise RebuildError(
            f"a model cannot be made inside a {'keras.StatelessScope' if stateless else 'tf.function'}",
            path=parsed.path,
            expected="a call outside of it",
            found="a scope that is open in this thread" if stateless else "a function that is being traced",
            remedy="load, save or clone before it is entered",
        )
    meter = meter_for(parsed.manifest, parsed.structure, rules.limits, parsed.path)
    try:
        with keras_api.metered(meter):
            restored = _restore(parsed, rules, constant, compile, foreign or {}, drawn, read, share)
            return dataclasses.replace(restored, meter=meter)
    except Exception as error:
        if meter.refusal is not None:
            raise meter.refusal from None  # Keras may have wrapped it
        if isinstance(error, (TiedioError, MemoryError)):
            raise
        if not isinstance(error, _OF_THE_FILE):  # of the backend, say
            raise RebuildError(
                "the model cannot be made again",
                path=parsed.path,
                expected="arguments that the classes take",
                found=f"{type(error).__name__}: {one_line(error)}",
                remedy="load with the code and the versions that it was saved with, or with compile=False",
            ) from error
        # What code of Keras and of the user raises is told by the rebuilder; what is left is the file's.
        raise FormatError(
            "the structure of the file cannot be followed",
            path=parsed.path,
            found=f"{type(error).__name__}: {error}"[:200],
            remedy="the file is damaged or was edited; save the model again",
            expected="a structure as tiedio.save writes it",
        ) from error


def _restore(
    parsed: Parsed,
    rules: Rules,
    constant: Callable[[str], np.ndarray[Any, Any]],
    compile: bool,
    foreign: Mapping[int, Any],
    drawn: bool,
    read: Read | None,
    share: bool,
) -> Restored:
    manifest = parsed.manifest
    compiled = parsed.training if compile else training.NOTHING.record
    audit_file(parsed.structure, compiled, manifest, rules, parsed.path)
    constants = {spec.name: spec for spec in manifest.constants}
    stored = _stored(manifest, compile)
    number = {record.path: n for n, record in enumerate(manifest.objects)}
    allowance = Allowance.of(rules.limits, 0)
    vocabularies = hooks.vocabularies_of(stored, number, lambda one: values.stored_array(constant, one), allowance)
    specs = {slot.path: _spec_of(spec, slot) for spec in manifest.variables for slot in spec.slots}
    optimizer_paths = tuple(f"{spec.path}/" for spec in manifest.optimizers)
    of_model = [v for v in manifest.variables if not v.slots[0].path.startswith(optimizer_paths)]
    of_optimizer = [v for v in manifest.variables if v.slots[0].path.startswith(optimizer_paths)]

    stand_ins: dict[str, Any] = {}

    def stand_in(path: str) -> Any:
        """One variable for each path: what was handed to two places was one there, too."""
        if path not in specs:
            raise FormatError(
                "the structure names a variable that the manifest does not have",
                path=parsed.path,
                expected="the canonical slot of a variable",
                found=repr(path)[:100],
                remedy=DAMAGED,
            )
        if path not in stand_ins:
            stand_ins[path] = _fresh(specs[path])
        return stand_ins[path]

    def read_constant(name: str) -> Any:
        return values.constant_of(constant(name), constants[name])

    set_by_hand: dict[int, Any] = {}

    def fresh(spec: Variable) -> Any:
        with keras_api.without_values(values.zeros):
            variable = _fresh(spec)
        set_by_hand[id(variable)] = variable
        return variable

    env = session.settings(manifest.versions["floatx"], manifest.versions["image_data_format"])
    waiting: list[weakref.ref[Any]] = []
    with env, session.outside_name_scopes(), contextlib.ExitStack() as stack:
        if not drawn:
            waiting = stack.enter_context(keras_api.without_values(values.zeros))
        rebuilder = Rebuilder(
            parsed.structure,
            [record.path for record in manifest.objects],
            rules=rules,
            variable=stand_in,
            constant=read_constant,
            foreign=foreign,
            vocabularies=vocabularies,
        )
        objects = rebuilder.run()
        by_path = {record.path: value for record, value in zip(manifest.objects, objects, strict=True)}
        roots = {root.name: by_path[root.path] for root in manifest.roots}

        def revive(config: Any) -> Any:
            return rebuilder.revive(config)

        alias(roots, manifest, of_model, fresh, revive, foreign)
        walk = slots.walk(roots)
        guard_ties(walk)
        variables = {slot.path: slot.variable for slot in walk.slots}
        held = {slot.path: slot.held for slot in walk.slots}
        replaced = {id(stale): held[path] for path, stale in stand_ins.items()}
        serialization.replace_variables(objects, replaced)
        filled = {} if read is None else _fill_early(of_model, variables, read, share)
        trained = training.NOTHING
        if compile:
            with keras_api.knowing(rules.custom_objects):  # a class's own hook revives what it is handed itself
                training.compile_again(objects, compiled, manifest.optimizers, variables, revive, rebuilder.plainly)
            variables |= training.restore_facts(walk, of_optimizer, revive)
            trained = training.describe_training(walk)
            optimizers.require_equal(trained.optimizers, manifest.optimizers)
    expected = manifest if compile else _without_optimizers(manifest, of_model)
    _close(expected, walk, trained)
    wanted = {spec.slots[0].path for spec in expected.variables}
    values_of = {path: variables[path] for path in sorted(wanted)}
    return Restored(
        roots, walk, objects, values_of, trained, training.owners(walk, compile), expected, set_by_hand, filled, waiting
    )


def _fill_early(specs: Sequence[Variable], variables: Mapping[str, Any], read: Read, share: bool) -> dict[int, Any]:
    """Fills the variables that are there; what is missing, or in another place, is for the closing equation to tell."""
    filled: dict[int, Any] = {}
    for spec in specs:
        path = spec.slots[0].path
        variable = variables.get(path)
        if variable is not None and id(variable) not in filled:
            values.fill(variable, read(path), path, share=share)
            filled[id(variable)] = variable
    return filled


def _close(expected: Manifest, walk: slots.Walk, trained: training.Training) -> None:
    """Raises `MismatchError` unless a rebuilt model is what the manifest says."""
    closing.require_equal(
        expected,
        describe.describe_objects(walk),
        (*describe.describe_variables(walk), *trained.variables()),
        remedy="load the file with the versions of code and Keras that it was saved with",
    )


def fill(restored: Restored, read: Read, *, check: bool = False, share: bool = True) -> None:
    """Gives rebuilt variables their values, and runs the loading hooks of their owners.

    Args:
        restored: the rebuilt models.
        read: the bytes of a tensor by its name.
        check: whether to do it only for the objects that have hooks.
        share: whether variables may share these bytes.

    Raises:
        MismatchError, RebuildError: if a hook fails, or leaves another value than the file's in a slot.
    """
    within_reach = hooks.within_reach(restored.hooked)
    for path, variable in restored.variables.items():
        if id(variable) not in restored.filled and (not check or id(variable) in within_reach):
            values.fill(variable, read(path), path, share=share)
    if not check:
        keras_api.give_storage_to_all(restored.waiting)  # metrics have none in the file
    if not run_hooks(restored, lambda one: values.stored_array(read, one)):
        return
    for path, variable in restored.variables.items():
        if id(variable) in within_reach and not np.array_equal(as_bytes(values.array_of(variable)), read(path)):
            raise MismatchError(
                "a loading hook left another value than the file's",
                path=path,
                expected="the value that was saved",
                found="another one",
                remedy="let load_own_variables give every variable the value that it had",
            )


def run_hooks(restored: Restored, read: hooks.Read) -> bool:
    """Runs the loading hooks of rebuilt objects; user code has run, so what it left is looked at once more.

    Returns:
        Whether there were any.

    Raises:
        MismatchError, RebuildError: if a hook fails, or puts something else into a slot.
    """
    if not hooks.restore(restored.hooked, restored.expected.stored, read):
        return False
    walk = slots.walk(restored.roots)
    kept = {slot.path: slot.variable for slot in restored.walk.slots}
    replaced = [slot.path for slot in walk.slots if kept.get(slot.path) is not slot.variable]
    if replaced:
        raise MismatchError(
            "a loading hook put another variable into a slot",
            path=replaced[0],
            expected="the variable that the rebuild made",
            found="another one",
            remedy="let load_own_variables assign to the variables that are there",
        )
    trained = training.describe_training(walk) if restored.trained is not training.NOTHING else training.NOTHING
    _close(restored.expected, walk, trained)
    return True


def _without_optimizers(manifest: Manifest, of_model: list[Variable]) -> Manifest:
    return dataclasses.replace(
        manifest, variables=tuple(of_model), optimizers=(), stored=_stored(manifest, compile=False)
    )


def _stored(manifest: Manifest, compile: bool) -> tuple[Stored, ...]:
    """What hooks stored, without those of optimizers if no model is compiled."""
    optimizers = {optimizer.path for optimizer in manifest.optimizers}
    return tuple(one for one in manifest.stored if compile or one.object not in optimizers)


def _spec_of(spec: Variable, slot: Slot) -> Variable:
    """The record of a variable, with the shape that a slot shows."""
    return spec if slot.view is None else dataclasses.replace(spec, shape=slot.shape_of(spec.shape))


def _fresh(spec: Variable) -> Any:
    return keras_api.Variable(
        keras_api.keras.initializers.Zeros(),
        shape=spec.shape,
        dtype=spec.dtype,
        trainable=spec.created_trainable,
        autocast=spec.autocast,
        aggregation=spec.aggregation,
        name=spec.name,
    )
