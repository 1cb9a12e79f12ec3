"""Model → flat table: each object once, by number, with its config, its graph and the places that hold it."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiedio import arrays, configs, keras_api, own_compile, serialization, slots
from tiedio.errors import ModelError, one_line
from tiedio.structure import plan
from tiedio.structure.facts import seeds_of
from tiedio.structure.refusals import refuse_what_cannot_be_carried

_FAILS = "get_config fails"
BASE_ARGUMENTS = ("name", "trainable", "dtype", "activity_regularizer")


@dataclass(frozen=True, slots=True)
class Table:
    """The structure of the roots.

    Args:
        record: the JSON value that is written.
        constants: name → array or tensor that stood as an argument of a node.
    """

    record: dict[str, Any]
    constants: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Nodes:
    """All nodes of all graphs, each once, and where their symbolic tensors come from."""

    nodes: list[Any]
    number: dict[int, int]
    tensor: dict[int, tuple[int, int]]


def tabulate(walk: slots.Walk) -> Table:
    """The flat table of all objects of a walk.

    Raises:
        ModelError: if an object cannot be described: no config, a config with a value that JSON cannot carry,
            or state that the format does not carry.
    """
    refuse_what_cannot_be_carried(walk)
    number = {id(found.value): n for n, found in enumerate(walk.objects)}
    by_path = {found.path: n for n, found in enumerate(walk.objects)}
    graphs = {n: g for n, f in enumerate(walk.objects) if (g := keras_api.graph_of(f.value)) is not None}
    nodes = _collect_nodes(graphs)
    constants: dict[str, Any] = {}
    variables = walk.canonical_slots() | {id(slot.live): slot.path for slot in walk.slots if slot.view is not None}
    known = number | {key: {"$variable": path} for key, path in variables.items()}
    entries = [_describe(found, known, by_path, graphs.get(n), nodes) for n, found in enumerate(walk.objects)]
    for found, entry, places in zip(walk.objects, entries, plan.found_at(entries), strict=True):
        entry["found_at"] = places
        _require_config(entry, found)
    makers = {n for n in graphs if entries[n]["kind"] != "functional" or entries[n]["found_at"]}
    found_in = _found_nodes(graphs, makers, nodes)
    records = []
    for n, node in enumerate(nodes.nodes):
        record = _describe_node(node, number)
        if n in found_in:
            record["model"], record["position"] = found_in[n]
        if "input" not in record and (n not in found_in or entries[found_in[n][0]]["kind"] == "functional"):
            where = slots.join(walk.objects[record["operation"]].path, "@call")
            encode = _ArgumentEncoder(number, nodes, variables, where, constants)
            record["args"] = encode(node.arguments.args)
            record["kwargs"] = encode(node.arguments.kwargs)
        records.append(record)
    _number_calls(records)
    table = {
        "objects": entries,
        "nodes": records,
        "steps": plan.order(entries, records, [by_path[f.path] for f in _roots(walk)]),
    }
    return Table(table, constants)


def _require_config(entry: Mapping[str, Any], found: slots.FoundObject) -> None:
    """Raises `ModelError` if `get_config` fails on an object that has to be made from its config."""
    reason = entry.get("no_config") or ""
    if reason.startswith(_FAILS) and not entry["found_at"]:
        path = found.path or "the model"
        try:
            keras_api.stamped(found.value.get_config)
        except ModelError as error:  # one of ours, which says what to do
            raise ModelError(
                error.what, path=path, expected=error.expected, found=error.found, remedy=error.remedy
            ) from error
        except Exception:  # noqa: BLE001 - as it failed before; told below
            pass
        raise ModelError(
            _FAILS,
            path=path,
            expected="a dict of the constructor's arguments",
            found=reason.removeprefix(f"{_FAILS}: "),
            remedy=f"mend get_config of {entry['class']['class_name']}",
        )


def _roots(walk: slots.Walk) -> list[slots.FoundObject]:
    by_id = {id(found.value): found for found in walk.objects}
    return [by_id[id(model)] for _, model in walk.roots]


def _collect_nodes(graphs: Mapping[int, keras_api.Graph]) -> _Nodes:
    nodes: list[Any] = []
    number: dict[int, int] = {}
    tensor: dict[int, tuple[int, int]] = {}
    for graph in graphs.values():
        for node in graph.nodes:
            # Keras clones the node of an `Input` with the graph around it; all of them mean that one input.
            source = node.operation if _is_input(node) else node
            if id(source) not in number:
                number[id(source)] = len(nodes)
                nodes.append(node)
            number[id(node)] = number[id(source)]
            tensor |= {id(output): (number[id(node)], i) for i, output in enumerate(node.outputs)}
    return _Nodes(nodes, number, tensor)


def _is_input(node: Any) -> bool:
    return bool(node.is_input) and isinstance(node.operation, keras_api.InputLayer)


def _found_nodes(graphs: Mapping[int, keras_api.Graph], makers: set[int], nodes: _Nodes) -> dict[int, tuple[int, int]]:
    """Nodes that a model makes in its own constructor: node → (model, position in its graph)."""
    found: dict[int, tuple[int, int]] = {}
    for model in sorted(makers):
        for position, node in enumerate(graphs[model].nodes):
            if not node.is_input:
                found.setdefault(nodes.number[id(node)], (model, position))
    return found


def _describe(
    found: slots.FoundObject,
    number: Mapping[int, Any],
    by_path: Mapping[str, int],
    graph: keras_api.Graph | None,
    nodes: _Nodes,
) -> dict[str, Any]:
    """One entry of the table."""
    value = found.value
    held = [
        [by_path[owner], [list(step) for step in _plain_steps(steps, found.path)]] for owner, steps in found.holders
    ]
    entry: dict[str, Any] = {
        "kind": "object",
        "class": keras_api.class_reference(type(value)),
        "name": getattr(value, "name", None),
        "held": held,
    }
    if isinstance(value, keras_api.Layer):
        entry["built"] = bool(value.built)
        entry["path"] = value.path
        entry["parent_path"] = vars(value).get("_parent_path")
        # Most configs say it; a constructor that takes no dtype follows the global policy of its time.
        policy = keras_api.stamped(lambda: keras_api.policy_of(value))
        entry["policy"] = configs.encode(policy, {}, found.path)
        build = value.get_build_config()
        if build is not None and not isinstance(value, (keras_api.Functional, keras_api.Sequential)):
            stamped = keras_api.stamped(lambda: dict(build))
            entry["build_config"] = configs.encode(stamped, number, found.path)
    seeds = seeds_of(value)
    if seeds:
        entry["seeds"] = seeds
    extras = own_compile.describe(value, number, found.path)
    if extras:
        entry["compile_arguments"] = extras
    if isinstance(value, keras_api.Sequential) and graph is not None:
        entry["inner_names"] = keras_api.inner_graph_names(value)
    if isinstance(value, keras_api.Sequential) and _is_plain_sequential(value):
        layers = keras_api.sequential_layers(value)
        shape = None if graph is None else layers[0].batch_shape
        entry |= {"kind": "sequential", "layers": [number[id(layer)] for layer in layers]}
        entry["shape"] = configs.encode(None if shape is None else tuple(shape), {}, found.path)
    elif graph is not None and isinstance(value, keras_api.Functional) and _is_plain_functional(value):
        entry |= {"kind": "functional", "nodes": [nodes.number[id(node)] for node in graph.nodes]}
        entry["operations"] = [number[id(operation)] for operation in graph.operations]
        entry["config"] = _functional_extra(value, number, found.path)
        entry["inputs"] = _encode_tensors(graph.inputs, nodes, found.path)
        entry["outputs"] = _encode_tensors(graph.outputs, nodes, found.path)
    else:
        config, reason = _config_of(value, number, found.path)
        if config is not None:
            entry["config"] = config
        else:
            entry["no_config"] = reason
        if graph is not None:
            entry["nodes"] = [nodes.number[id(node)] for node in graph.nodes]
    return entry


def _plain_steps(steps: tuple[slots.Step, ...], path: str) -> list[slots.Step]:
    for kind, key in steps:
        if kind == "key" and not isinstance(key, (str, int, type(None))):
            raise ModelError(
                "a dict that holds a layer has a key that cannot be stored",
                path=path,
                expected="a string or an integer",
                found=repr(key),
                remedy="use string keys",
            )
    return list(steps)


def _is_plain_sequential(value: Any) -> bool:
    cls = type(value)
    if cls is keras_api.Sequential:
        return True
    parameters = list(keras_api.constructor_parameters(cls))
    own = keras_api.overrides(value, "get_config") or keras_api.overrides(value, "from_config")
    return not own and parameters == list(keras_api.constructor_parameters(keras_api.Sequential))


def _is_plain_functional(value: Any) -> bool:
    own = keras_api.overrides(value, "from_config") and not serialization.takes_tensors(value)
    return keras_api.has_functional_constructor(type(value)) and not own


def _functional_extra(value: Any, number: Mapping[int, int], path: str) -> Any:
    """Constructor arguments beside inputs, outputs and name that a class adds to the functional config."""
    if not keras_api.overrides(value, "get_config"):
        return {}
    config = keras_api.stamped(value.get_config)
    known = ("name", "trainable", "layers", "input_layers", "output_layers")
    return configs.encode({key: item for key, item in config.items() if key not in known}, number, path)


def _config_of(value: Any, number: Mapping[int, int], path: str) -> tuple[Any, str | None]:
    """The constructor arguments of an object, or why there are none."""
    try:
        if isinstance(value, (keras_api.Functional, keras_api.Sequential)) and not keras_api.overrides(
            value, "get_config"
        ):
            config = keras_api.auto_config(value)
            if config is None:
                return None, f"{type(value).__name__} has its own constructor and no get_config"
            config["name"] = value.name
        else:
            config = keras_api.stamped(value.get_config)
    except (NotImplementedError, TypeError, OSError) as error:
        config = _operation_arguments(value)
        if config is None:
            return None, one_line(error)
    except Exception as error:  # noqa: BLE001 - told below, unless another object's code makes this one
        return None, f"{_FAILS}: {type(error).__name__}: {one_line(error)}"
    if not keras_api.overrides(value, "from_config"):
        config = _accepted(type(value), config)
    config |= _left_out(value, config)
    if keras_api.reads_vocabulary(value):
        # Keras forgets the text file that it came from, and the model must load where that file is not.
        config["vocabulary"] = [arrays.as_number(token) for token in value.get_vocabulary(include_special_tokens=False)]
    return configs.encode(config, number, path), None


def _left_out(value: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments that the config of a layer of Keras's own does not return, such as `use_cudnn` of `GRU`."""
    if type(value).__module__.partition(".")[0] != "keras":
        return {}
    held = vars(value)
    found = {}
    for name, parameter in keras_api.constructor_parameters(type(value)).items():
        if name not in ("self", *BASE_ARGUMENTS) and name not in config and name in held:
            item = arrays.as_number(held[name])
            if configs.is_data(item) and (type(item) is not type(parameter.default) or item != parameter.default):
                found[name] = item
    return found


def _operation_arguments(value: Any) -> dict[str, Any] | None:
    """Constructor arguments of an operation of Keras that was given NumPy numbers, on which its config gives up."""
    if isinstance(value, keras_api.Layer) or type(value).__module__.partition(".")[0] != "keras":
        return None
    held = vars(value)
    names = [name for name in keras_api.constructor_parameters(type(value)) if name != "self"]
    if not all(name in held for name in names):
        return None
    # The name comes first, as in what Keras's own `get_config` gives once the operation is made from this.
    return {name: arrays.as_number(held[name]) for name in sorted(names, key=lambda name: name != "name")}


def _accepted(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    """The config without the base arguments that the constructor does not take; they are set afterwards."""
    parameters = keras_api.constructor_parameters(cls)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return config
    return {key: item for key, item in config.items() if key in parameters or key not in BASE_ARGUMENTS}


def _describe_node(node: Any, number: Mapping[int, int]) -> dict[str, Any]:
    record: dict[str, Any] = {"operation": number[id(node.operation)], "call": _call_number(node)}
    if _is_input(node):
        record["input"] = True
    return record


def _number_calls(records: list[dict[str, Any]]) -> None:
    """Numbers the calls of each operation from 0: calls in graphs that are not saved leave no gap."""
    calls: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        calls.setdefault(record["operation"], []).append(record)
    for group in calls.values():
        for rank, record in enumerate(sorted(group, key=lambda record: int(record["call"]))):
            record["call"] = rank


def _call_number(node: Any) -> int:
    return next(i for i, other in enumerate(node.operation._inbound_nodes) if other is node)


def _encode_tensors(structure: Any, nodes: _Nodes, path: str) -> Any:
    """A structure of symbolic tensors as JSON."""
    return _ArgumentEncoder({}, nodes, {}, path, {})(structure)


class _ArgumentEncoder:
    """Encodes arguments of a node: symbolic tensors, live variables, constants and plain values."""

    def __init__(
        self,
        number: Mapping[int, int],
        nodes: _Nodes,
        variables: Mapping[int, str],
        where: str,
        constants: dict[str, Any],
    ) -> None:
        self.number, self.nodes, self.variables = number, nodes, variables
        self.where, self.constants = where, constants

    def __call__(self, value: Any) -> Any:
        if isinstance(value, keras_api.KerasTensor):
            if id(value) not in self.nodes.tensor:
                raise ModelError(
                    "an argument comes from outside of every graph that is saved",
                    path=self.where,
                    found=repr(value),
                    remedy="save the model that it comes from together with this one",
                    expected="a tensor of a model that is saved",
                )
            return {"$tensor": list(self.nodes.tensor[id(value)])}
        if slots.is_variable(value):
            return {"$variable": self.variables[id(value)]}
        if isinstance(value, (tuple, list, Mapping)):
            return self._container(value)
        if arrays.is_backend_variable(value):
            raise ModelError(
                "an argument is a variable of the backend, which Keras does not track",
                path=self.where,
                expected="keras.Variable",
                found=type(value).__name__,
                remedy="pass a keras.Variable",
            )
        kind = arrays.array_kind(value)
        if kind is not None:
            return {"$constant": [kind, self._constant(value)]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return configs.encode(value, {}, self.where)
        return {"$keras": configs.encode(keras_api.stamped(lambda: value), self.number, self.where)}

    def _container(self, value: Any) -> Any:
        """A tuple, list or dict; an ordered one apart, since Keras flattens the two in different orders."""
        if isinstance(value, OrderedDict):
            return {"$ordered": [[self(key), self(item)] for key, item in value.items()]}
        if type(value) not in (tuple, list, dict) and not type(value).__module__.startswith("keras."):
            raise ModelError(
                "a container of a class of its own stands in the graph of a functional model",
                path=self.where or "the model",
                expected="a tuple, list, dict or OrderedDict",
                found=type(value).__name__,
                remedy="pass a plain tuple, list or dict when the model is made",
            )
        if isinstance(value, Mapping):
            return {"$dict": [[self(key), self(item)] for key, item in value.items()]}
        items = [self(item) for item in value]
        return {"$tuple": items} if isinstance(value, tuple) else items

    def _constant(self, value: Any) -> str:
        """The name of a constant: one array that stands in two calls is stored once."""
        for name, known in self.constants.items():
            if known is value:
                return name
        name = f"@constant/{len(self.constants)}"
        self.constants[name] = value
        return name
