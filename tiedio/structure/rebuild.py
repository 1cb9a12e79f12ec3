"""Table → model: the steps of the plan, then what is still unbuilt, then names, order and bookkeeping."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiedio import arrays, configs, hooks, keras_api, own_compile, session, slots
from tiedio.errors import RebuildError, TiedioError, one_line
from tiedio.structure import audit, plan
from tiedio.structure.facts import set_facts, shapes_of

Fresh = Callable[[str], Any]
Reference = Callable[[Any], Any]


class Rebuilder:
    """Makes the objects of one table.

    Args:
        record: the table, already audited.
        paths: canonical path of each object, by number, for errors.
        rules: what the table was audited by.
        variable: canonical slot path → a stand-in for a live variable that is an argument of a node or constructor.
        constant: name of a constant → its NumPy array.
        foreign: objects, by identity, that belong to another model and must not be found.
        vocabularies: tokens and weights of lookup layers, by number: their calls may need them.
    """

    def __init__(
        self,
        record: Mapping[str, Any],
        paths: Sequence[str],
        *,
        rules: audit.Rules,
        variable: Fresh,
        constant: Fresh,
        foreign: Mapping[int, Any] | None = None,
        vocabularies: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.entries: list[dict[str, Any]] = record["objects"]
        self.node_records: list[dict[str, Any]] = record["nodes"]
        self.steps: list[Any] = record["steps"]
        self.built_within = plan.built_within(self.entries, self.node_records)
        self.paths = paths
        self.rules = rules
        self.custom_objects, self.safe_mode = dict(rules.custom_objects), rules.safe_mode
        self.objects: dict[int, Any] = {}
        self.nodes: dict[int, Any] = {}
        self.taken: dict[int, Any] = {}
        self.foreign = foreign or {}
        self.vocabularies = vocabularies or {}
        self.constants: dict[str, Any] = {}
        self.used: set[int] = set()
        self.made: set[int] = set()
        self.in_progress: set[int] = set()
        self.held_by: dict[int, list[tuple[int, int]]] = {}
        for n, entry in enumerate(self.entries):
            for position, (owner, _) in enumerate(entry["held"]):
                self.held_by.setdefault(owner, []).append((n, position))
        self.reference: dict[str, Reference] = {"$object": self._stub, "$variable": variable}
        self.argument_reference: dict[str, Reference] = self.reference | {
            "$tensor": lambda where: self.node(where[0]).outputs[where[1]],
            "$constant": lambda named: self._constant(named[0], named[1], constant),
            "$keras": self.revive,
        }

    def run(self) -> list[Any]:
        """All objects, by number, built; variables are not yet tied."""
        with session.without_old_warnings():
            return self._run()

    def _run(self) -> list[Any]:
        for kind, n in self.steps:
            if kind == "call":
                self.node(n)
            elif kind == "make":
                self.object(n)
            else:
                self._find(n)
        self._build()
        for n in range(len(self.entries)):
            self.object(n)
        for owner in range(len(self.entries)):
            self._place_children(owner)
        for n, entry in enumerate(self.entries):
            set_facts(self.objects[n], entry, self._decode)
        for value in self.objects.values():
            keras_api.refresh_names(value)
        return [self.objects[n] for n in range(len(self.entries))]

    # --- objects ------------------------------------------------------------------------------------

    def object(self, n: int) -> Any:
        """Object `n`: as it was found or made before, or found now, or made from its config now."""
        if n not in self.objects and not self._find(n):
            if n in self.in_progress:
                raise self._error(n, "the object needs itself")
            self.in_progress.add(n)
            try:
                self._keep(n, self._make(n))
                self.made.add(n)
            finally:
                self.in_progress.discard(n)
        return self.objects[n]

    def _find(self, n: int) -> bool:
        """Takes the object that its owner's own code made, if it is there and is what the table says."""
        entry = self.entries[n]
        if n in self.objects:
            return True
        for position in entry["found_at"]:
            owner, steps = entry["held"][position]
            if owner not in self.objects:
                continue
            value = slots.get(self.objects[owner], _steps(steps))
            if value is not slots.MISSING and self._is_same_making(value, entry):
                self._keep(n, value)
                return True
        return False

    def _is_same_making(self, value: Any, entry: Mapping[str, Any]) -> bool:
        if id(value) in self.taken or not self._is_of_class(value, entry["class"]):
            return False
        if "config" not in entry or entry["kind"] != "object":
            return True
        inside = configs.Inside({id(found.value): 0 for found in slots.walk({None: value}).objects[1:]})
        try:
            config = keras_api.stamped(value.get_config)
        except (NotImplementedError, TypeError, TiedioError):
            return True
        now = configs.without_identity(configs.encode(config, inside, entry["name"] or ""))
        then = configs.without_identity(entry["config"])
        return bool({key: item for key, item in now.items() if key in then} == then)

    def _is_of_class(self, value: Any, named: Mapping[str, Any]) -> bool:
        """Whether the class is the named one; a class that only its owner makes need not be registered."""
        cls = self.rules.class_of(named)
        return type(value) is cls if cls is not None else keras_api.class_reference(type(value)) == named

    def _keep(self, n: int, value: Any) -> None:
        self._take(n, value)
        name = self.entries[n]["name"]
        if name is not None and value.name != name:
            keras_api.rename(value, name)
        entry = self.entries[n]
        deferred = entry["kind"] == "sequential" and not value.built and entry["shape"] is not None
        if deferred and not self._is_built_from_outside(n):
            # Made by its owner and built by the owner's first call; its layers are found only once it is built.
            self._guard(n, lambda: value.build(configs.decode(entry["shape"], {})))
        extras = entry.get("compile_arguments", {})
        self._guard(n, lambda: own_compile.set_extras(value, extras, self.revive))
        for position, (owner, _) in enumerate(entry["held"]):
            self._place(owner, n, position)
        self._place_children(n)
        for child, _ in self.held_by.get(n, ()):
            if child in self.vocabularies:
                self._find(child)  # now, since the first call of its owner needs the vocabulary

    def _take(self, n: int, value: Any) -> None:
        """Notes that object `n` is this one; `taken` keeps it alive, so that its identity means nothing else."""
        if id(value) in self.foreign:
            raise RebuildError(
                "the class's code gave a layer of the living model instead of a new one",
                path=self.paths[n] or "the model",
                expected="a constructor that makes its layers anew",
                found=f"{type(value).__name__} kept in a registry, cache or default argument",
                remedy="pass the shared layer as a constructor argument and return it from get_config",
            )
        if n in self.objects:
            self.taken.pop(id(self.objects[n]), None)
        self.objects[n] = value
        self.taken[id(value)] = value
        if n in self.vocabularies:
            hooks.restore_vocabulary(value, self.vocabularies[n], self.paths[n])

    def _place_children(self, owner: int) -> None:
        for child, position in self.held_by.get(owner, ()):
            self._place(owner, child, position)

    def _place(self, owner: int, child: int, position: int) -> None:
        """Makes the owner hold the child at one place, if both are there."""
        steps = _steps(self.entries[child]["held"][position][1])
        if owner not in self.objects or steps[0][0] in ("operation", "layer", "store"):
            return
        holder = self.objects[owner]
        held = slots.get(holder, steps)
        if child not in self.objects:
            return
        value = self.objects[child]
        if held is value:
            return
        if steps[0][0] == "attribute" and steps[0][1] in keras_api.bookkeeping_names(holder):
            raise self._error(owner, f"a layer for {steps[0][1]!r}, where Keras keeps records of its own")
        if slots.get(holder, steps[:-1]) is not slots.MISSING:
            slots.put(holder, steps, value)

    def _make(self, n: int) -> Any:
        entry = self.entries[n]
        if entry["found_at"]:
            audit.audit_object(entry, self.paths[n] or "the model", self.rules)
        cls = self.rules.class_of(entry["class"])
        if cls is None:
            raise self._error(n, "the class is not known here")
        if entry["kind"] == "sequential":
            layers = [self._use(layer) for layer in entry["layers"]]
            shape = None if self._is_built_from_outside(n) else configs.decode(entry["shape"], {})
            with session.default_policy(self._decode(entry.get("policy"))):
                return self._guard(n, lambda: keras_api.make_sequential(cls, entry["name"], layers, shape))
        if entry["kind"] == "functional":
            for k in entry["nodes"]:
                self.node(k)
            inputs = configs.decode(entry["inputs"], self._tensors())
            outputs = configs.decode(entry["outputs"], self._tensors())
            extra = self._decode(entry["config"])
            return self._guard(n, lambda: cls(inputs=inputs, outputs=outputs, name=entry["name"], **extra))
        if "config" not in entry:
            raise RebuildError(
                "the object cannot be made: its class gives no config",
                path=self.paths[n] or "the model",
                expected="a get_config method that returns the constructor's arguments",
                found=entry.get("no_config"),
                remedy=f"decorate {entry['class']['class_name']} with @tiedio.serializable, or write its"
                " get_config; tiedio.save_weights needs neither",
            )
        mentioned = set(configs.references(entry["config"]))
        for other in sorted(mentioned):
            self.object(other)
        value = self._try(n, lambda: self._from_config(entry))
        self._keep_copies(n, value, mentioned)
        self.used |= mentioned
        return value

    def _keep_copies(self, n: int, value: Any, mentioned: set[int]) -> None:
        """What a wrapper such as `Bidirectional` copied is the child, unless the child is used elsewhere already."""
        for child, position in self.held_by.get(n, ()):
            if child in mentioned and child in self.made and child not in self.used:
                held = slots.get(value, _steps(self.entries[child]["held"][position][1]))
                if held is not self.objects[child] and type(held) is type(self.objects[child]):
                    self._take(child, held)
                    self.made.discard(child)
                    keras_api.rename(held, self.entries[child]["name"])
                    self._forget_children(child)

    def _forget_children(self, owner: int) -> None:
        for child, position in self.held_by.get(owner, ()):
            if position in self.entries[child]["found_at"] and child in self.objects and child not in self.used:
                self.taken.pop(id(self.objects.pop(child)), None)
                self._forget_children(child)
                self._find(child)

    def _from_config(self, entry: Mapping[str, Any]) -> Any:
        serialized = {**entry["class"], "config": self._decode(entry["config"])}
        stubs = {number: self.objects[number] for number in configs.references(entry["config"])}
        policy = None if "dtype" in entry["config"] else self._decode(entry.get("policy"))
        known = keras_api.known_objects({_stamp(number): value for number, value in stubs.items()})
        with known, session.default_policy(policy):
            return keras_api.deserialize(serialized, self.custom_objects, self.safe_mode)

    def revive(self, inner: Any) -> Any:
        """What an encoded config of Keras stands for."""
        for other in configs.references(inner):
            self.object(other)
        stubs = {_stamp(number): self._use(number) for number in configs.references(inner)}
        with keras_api.known_objects(stubs):
            return keras_api.deserialize(self._decode(inner), self.custom_objects, self.safe_mode)

    def plainly(self, value: Any) -> Any:
        """An encoded config as Keras would hand it to a `from_config`: nothing in it is revived."""
        return self._decode(value)

    def _decode(self, value: Any) -> Any:
        return configs.decode(value, self.reference)

    def _stub(self, n: int) -> dict[str, Any]:
        return {**self.entries[n]["class"], "config": {}, "shared_object_id": _stamp(n)}

    def _use(self, n: int) -> Any:
        value = self.object(n)
        self.used.add(n)
        return value

    def _constant(self, kind: str, name: str, read: Fresh) -> Any:
        """A constant by its name: one array that stood in two calls is one object again."""
        if name not in self.constants:
            self.constants[name] = arrays.as_array_kind(kind, read(name))
        return self.constants[name]

    def _is_built_from_outside(self, n: int) -> bool:
        """Whether a model that is still to be made will build `n`, which keeps the order of calls."""
        return self.built_within.get(n, n) not in {n, *self.objects}

    # --- nodes --------------------------------------------------------------------------------------

    def node(self, k: int) -> Any:
        """Node `k`: found in the model that makes it, or made by calling its operation."""
        if k in self.nodes:
            return self.nodes[k]
        record = self.node_records[k]
        operation = self._use(record["operation"])
        node = self._found_node(k, record)
        if node is None and record.get("input"):
            node = operation._inbound_nodes[0]
        if node is None:
            if "args" not in record:
                raise self._error(
                    record["model"],
                    f"the graph that its constructor makes lacks a call of {self.paths[record['operation']]!r}",
                )
            args = configs.decode(record["args"], self.argument_reference)
            kwargs = configs.decode(record["kwargs"], self.argument_reference)
            self._try(record["operation"], lambda: operation(*args, **kwargs))
            node = operation._inbound_nodes[-1]
        self.nodes[k] = node
        return node

    def _try(self, n: int, act: Callable[[], Any]) -> Any:
        """Runs code of object `n` that may read a layer which was built by hand or by a call, and is not yet."""
        try:
            return act()
        except TiedioError:
            raise
        except Exception as error:
            if not self._build_referents(n):
                raise self._error(n, one_line(error)) from error
        return self._guard(n, act)

    def _build_referents(self, n: int) -> bool:
        """Builds the layers that object `n` refers to and that are not built yet; whether there were any."""
        held = {child for child, _ in self.held_by.get(n, ()) if n in self.objects}
        built = False
        for other in sorted(held | set(configs.references(self.entries[n].get("config")))):
            layer, entry = self.object(other), self.entries[other]
            if entry.get("built") and not layer.built and not keras_api.built_by_default(layer):
                self._build_object(other)
                built = True
        return built

    def _found_node(self, k: int, record: Mapping[str, Any]) -> Any:
        if "model" not in record or (record["model"] in self.made and "args" in record):
            return None
        if record["model"] in self.in_progress:
            return None
        graph = keras_api.graph_of(self.object(record["model"]))
        if graph is None or record["position"] >= len(graph.nodes):
            return None
        node = graph.nodes[record["position"]]
        return node if node.operation is self.objects[record["operation"]] else None

    def _tensors(self) -> dict[str, Callable[[Any], Any]]:
        return {"$tensor": lambda where: self.nodes[where[0]].outputs[where[1]]}

    # --- building -----------------------------------------------------------------------------------

    def _build(self) -> None:
        """Gives every layer that was built its state; owners first, for what their own `build` makes."""
        later = []
        for n, entry in enumerate(self.entries):
            if not entry.get("built"):
                continue
            layer = self._built_child(n)
            if layer.built:
                continue
            if keras_api.built_by_default(layer):
                later.append(n)
            else:
                self._build_object(n)
        for n in later:
            if not self.objects[n].built and self._misses_children(n):
                self._build_if_possible(n)
            if not self.objects[n].built:
                config = self._decode(self.entries[n].get("build_config"))
                keras_api.mark_built(self.objects[n], shapes_of(config))

    def _built_child(self, n: int) -> Any:
        """Object `n`; if its owner has not made it yet, the owner is built first, since its call may make it."""
        for position in self.entries[n]["found_at"]:
            owner, steps = self.entries[n]["held"][position]
            if self._find(n):
                break
            holder = self.objects.get(owner)
            if holder is None or slots.get(holder, _steps(steps)) is not slots.MISSING:
                continue
            if self.entries[owner].get("built") and not holder.built:
                self._build_if_possible(owner)
        return self.object(n)

    def _build_if_possible(self, n: int) -> None:
        """Lets a model's first call make what it makes; if it cannot be called, its parts are built one by one.

        A call fails that needs what only the user's hand put there: lists that grew, settings. Whatever is not made in
        either way is missed by the closing equation.
        """
        if keras_api.built_by_default(self.objects[n]):
            with contextlib.suppress(RebuildError):
                self._build_object(n)
        else:
            self._build_object(n)

    def _build_object(self, n: int) -> None:
        self._guard(n, lambda: self._build_one(self.objects[n], self.entries[n]))

    def _build_one(self, layer: Any, entry: Mapping[str, Any]) -> None:
        config = self._decode(entry.get("build_config"))
        own = keras_api.overrides(layer, "build_from_config", keras_api.Layer, keras_api.Model)
        if config is None:
            keras_api.mark_built(layer, None)
        elif own or keras_api.built_by_default(layer):
            layer.build_from_config(config)
        elif "input_shape" in config:
            layer.build(config["input_shape"])
        else:
            layer.build(**config["shapes_dict"])

    def _misses_children(self, n: int) -> bool:
        return any(
            slots.get(self.objects[n], _steps(self.entries[child]["held"][position][1])) is slots.MISSING
            for child, position in self.held_by.get(n, ())
        )

    # --- errors -------------------------------------------------------------------------------------

    def _guard(self, n: int, act: Callable[[], Any]) -> Any:
        """Runs code of Keras or of the user; what it raises is told with the place."""
        try:
            return act()
        except TiedioError:
            raise
        except Exception as error:  # user code may raise anything; nothing is swallowed
            raise self._error(n, one_line(error)) from error

    def _error(self, n: int, found: str) -> RebuildError:
        name = self.entries[n]["class"]["class_name"]
        return RebuildError(
            f"{name} cannot be made again",
            path=self.paths[n] or "the model",
            found=found,
            remedy=f"check that get_config of {name} returns every argument of its constructor, and that from_config"
            " and build use nothing else",
            expected="a config that its class takes",
        )


def _steps(steps: Sequence[Any]) -> tuple[slots.Step, ...]:
    return tuple((kind, key) for kind, key in steps)


def _stamp(n: int) -> str:
    return f"tiedio:{n}"
