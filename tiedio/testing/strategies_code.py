"""Prints what a recipe describes as a script that needs no recipe: Keras's own calls, and `tiedio.tie`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tiedio.testing.strategies_build import BATCH, new_part, public
from tiedio.testing.strategies_facts import reach, signature, slots, view_of
from tiedio.testing.strategies_new import OWN, Name
from tiedio.testing.strategies_optimizers import optimizer_code
from tiedio.testing.strategies_recipe import (
    Attach,
    Chain,
    Change,
    Cut,
    Graph,
    Layer,
    Op,
    Recipe,
    Root,
    Slot,
    Subclass,
    Tie,
    View,
)
from tiedio.testing.strategies_table import KINDS, RECURRENT, SHAPES, WORDS, variables_of

_DICTS = ("named", "heads", "typed")
_WIDTH = 100


def code_of(recipe: Recipe) -> str:
    """A script that builds what `build` builds: the same structure and ties, compiled, and the same values.

    Args:
        recipe: the recipe.

    Returns:
        Python code; it ends with `model`, or a dict of models, `inputs`, and `targets` of those that are compiled.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root
        >>> print(code_of(Recipe((Layer("activation"), Chain((0, 0))), (Root(1),))))
        import keras
        import numpy as np
        <BLANKLINE>
        keras.utils.set_random_seed(0)
        activation = keras.layers.Activation('tanh')
        model = keras.Sequential([keras.Input((3, 4)), activation, activation])
        rng = np.random.default_rng((0, 1))
        inputs = rng.uniform(-1, 1, (2, 3, 4)).astype('float32')
    """
    return _Writer(recipe).write()


class _Writer:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.lines: list[str] = []
        self.own: set[str] = set()
        self.uses: set[str] = set()
        self.values: dict[int, list[str]] = {}
        self.count = 0
        self.names = self._names()

    def _names(self) -> list[str]:
        """What each part is called: by its kind, and a number from the second one on; an only root is `model`."""
        alone = [root.part for root in self.recipe.roots if root.name is None]
        seen: dict[str, int] = {}
        names = []
        for number, part in enumerate(self.recipe.parts):
            base = "model" if number in alone else part.kind if isinstance(part, Layer) else type(part).__name__.lower()
            seen[base] = seen.get(base, 0) + 1
            names.append(base if seen[base] == 1 else f"{base}_{seen[base] - 1}")
        return names

    def write(self) -> str:
        recipe = self.recipe
        for number in range(len(recipe.parts)):
            self._part(number)
        for root in recipe.roots:
            self._data(root)
        self._fill()
        self._freeze("before")
        for one in recipe.changes:
            self._change(one)
        self._freeze("after")
        for root in recipe.inside:
            if root.compile is not None:
                self._data(root)
        for root in (*recipe.inside, *recipe.roots):
            self._train(root)
        if self._freeze("late"):
            for root in (*recipe.inside, *recipe.roots):
                if root.compile is not None:
                    self._add(f"{self.names[root.part]}.make_train_function(force=True)")
        self._together()
        if recipe.policy is not None:
            self._add("keras.config.set_dtype_policy('float32')")
        return "\n".join([*self._head(), *self.lines])

    def _head(self) -> list[str]:
        imports = ["import keras", "import numpy as np"]
        if any("tiedio." in line for line in self.lines):
            imports.append("import tiedio")
        if "Arguments" in self.uses:
            imports.append("from tiedio.testing import Arguments")
        if self.own:
            imports.append(f"from {OWN} import {', '.join(sorted(self.own))}")
        if "give" in self.uses:
            imports.append("from tiedio.testing.strategies_slots import find, give")
        policy = self.recipe.policy
        start = [] if policy is None else [f"keras.config.set_dtype_policy({policy!r})"]
        return [*imports, "", f"keras.utils.set_random_seed({self.recipe.seed})", *start]

    def _add(self, line: str) -> None:
        self.lines.append(line)

    def _part(self, number: int) -> None:
        part, name = self.recipe.parts[number], self.names[number]
        called = "" if part.name is None else f", name={part.name!r}"
        if isinstance(part, Layer):
            inner = "" if part.inner is None else self.names[part.inner]
            if part.kind == "given":
                self._build(inner, part.on)
            made = new_part(part)
        elif isinstance(part, Subclass):
            made = new_part(part).given(parts=[Name(self.names[one]) for one in part.parts])
            inner = ""
        else:
            if isinstance(part, Graph):
                values = self.values[number] = self._run(part)
                inputs = self._structure(part, values[: len(part.inputs)])
                self._add(f"{name} = keras.Model({inputs}, {self._structure(part, _at(values, part.outputs))}{called})")
            elif isinstance(part, Cut):
                values = self.values[part.graph]
                ends = f"{_one(_at(values, part.inputs))}, {_one(_at(values, part.outputs))}"
                self._add(f"{name} = keras.Model({ends}{called})")
            else:
                first = [] if part.deferred else [_placeholder(signature(self.recipe.parts, number)[0][0])]
                held = ", ".join([*first, *(self.names[one] for one in part.parts)])
                self._add(f"{name} = keras.Sequential([{held}]{called})")
            return
        if "." not in made.cls:
            self.own.add(made.cls)
        self._add(f"{name} = {made.code(inner)}")

    def _build(self, name: str, on: str) -> None:
        self._add(f"if not {name}.built:")
        self._add(f"    {name}.build({(None, *SHAPES[on])})")

    def _run(self, graph: Graph) -> list[str]:
        values: list[str] = []
        for number, kind in enumerate(graph.inputs):
            values.append(self._value())
            self._add(f"{values[-1]} = {_placeholder(kind, f'value_{number:02}' if graph.named else None)}")
        for step in graph.steps:
            if isinstance(step, Op):
                owner = self.recipe.parts[step.slot[0]]
                assert isinstance(owner, Layer)
                self._build(self.names[step.slot[0]], owner.on)
                call = f"keras.ops.{step.function}({values[step.arg]}, {self._variable(step.slot)})"
                values.append(self._value())
                self._add(f"{values[-1]} = {call}")
                continue
            part = self.recipe.parts[step.part]
            args = [values[one] for one in step.args]
            apart = isinstance(part, Subclass) or (isinstance(part, Layer) and part.kind == "attention")
            call = f"{self.names[step.part]}({', '.join(args) if apart else self._structure(part, args)})"
            made = [self._value() for _ in signature(self.recipe.parts, step.part)[1]]
            plain = len(made) == 1 and not self._gives_dict(step.part)
            self._add(f"{made[0]} = {call}" if plain else f"[{', '.join(made)}] = keras.tree.flatten({call})")
            values += made
        return values

    def _gives_dict(self, number: int) -> bool:
        part = self.recipe.parts[number]
        if isinstance(part, Chain | Subclass):
            return self._gives_dict(part.parts[-1])
        return isinstance(part, Graph) and part.named

    def _value(self) -> str:
        self.count += 1
        return f"x{self.count - 1}"

    def _structure(self, part: Any, items: list[str]) -> str:
        """What a model takes or returns, in the structure that it has."""
        if isinstance(part, Graph) and part.named:
            named = [f"'value_{number:02}': {item}" for number, item in enumerate(items)]
            return f"{{{', '.join(named)}}}"
        return _one(items)

    def _variable(self, slot: Slot) -> str:
        text, last = self.names[slot[0]], ""
        for key in slot[1].split("."):
            text += f"[{key}]" if key.isdigit() else f"[{key!r}]" if last in _DICTS else f".{key}"
            last = key
        return text

    def _data(self, root: Root) -> None:
        """The data that a model is called on, and targets if it is compiled."""
        recipe, name = self.recipe, self.names[root.part]
        part, before = recipe.parts[root.part], "" if name == "model" else f"{name}_"
        kinds, outputs = signature(recipe.parts, root.part)
        self._add(f"rng = np.random.default_rng({(recipe.seed, root.part)})")
        given = [_example(kind) for kind in kinds]
        if isinstance(part, Subclass) and part.arguments > 1:
            self.uses.add("Arguments")
            self._add(f"{before}inputs = Arguments(({', '.join(given)}))")
        else:
            self._add(f"{before}inputs = {self._structure(part, given)}")
        if root.compile is not None:
            self._add(f"{before}targets = {self._structure(part, [_example(kind) for kind in outputs])}")
        inside = [recipe.parts[one] for one in reach(recipe.parts, [root.part], called=True)]
        # A call builds what is not built yet, and one of a recurrent layer draws a random state, used or not.
        if root in recipe.roots and any(
            isinstance(one, Subclass)
            or (isinstance(one, Chain) and one.deferred)
            or (isinstance(one, Layer) and (KINDS[one.kind].model or one.kind in RECURRENT))
            for one in inside
        ):
            several = "*" if isinstance(part, Subclass) and part.arguments > 1 else ""
            self._add(f"{name}({several}{before}inputs{'.args' if several else ''})")

    def _fill(self) -> None:
        runs: list[tuple[bool, list[str]]] = []
        for number, part in enumerate(self.recipe.parts):
            for variable in variables_of(part.kind, part.on) if isinstance(part, Layer) else ():
                if variable.role == "seed":
                    continue
                data = variable.role == "data"
                if not runs or runs[-1][0] != data:
                    runs.append((data, []))
                runs[-1][1].append(self._variable((number, variable.path)))
        if runs:
            self._add(f"rng = np.random.default_rng({self.recipe.seed})")
        for data, variables in runs:
            self.lines += _wrapped("for variable in [", variables, "]:")
            if data:
                self._add("    values = rng.integers(0, 5, variable.shape).astype('float32')")
                self._add("    variable.assign(keras.ops.cast(values, variable.dtype))")
            else:
                self._add("    low = 0.1 if len(variable.shape) == 1 else -0.5")
                self._add("    variable.assign(rng.uniform(low, 0.6, variable.shape).astype('float32'))")

    def _freeze(self, when: str) -> bool:
        chosen = [one for one in self.recipe.freezes if one.when == when]
        for one in chosen:
            frozen = self.names[one.part] if one.path is None else self._variable((one.part, one.path))
            self._add(f"{frozen}.trainable = False")
        return bool(chosen)

    def _change(self, one: Change) -> None:
        if isinstance(one, Tie):
            first, *others = one.slots
            for other in others:
                if one.how == "tied":
                    self._tie(other, first, "")
                else:
                    self._give(other, self._variable(first), in_place=one.how == "in_place")
        elif isinstance(one, View):
            view = view_of(one)
            self._tie(one.slot, one.source, f", view=tiedio.{view.name}({', '.join(map(repr, one.view[1:]))})")
        elif isinstance(one, Attach):
            variable = self._variable(one.slot)
            held = {"plain": variable, "list": f"[{variable}]", "dict": f"{{'weight': {variable}}}"}[one.container]
            self._add(f"{self.names[one.part]}.extra = {held}")
        else:
            old = self._variable(one.slot)
            copy = f"keras.Variable({old}.numpy(), dtype={old}.dtype, name='untied')"
            self._give(one.slot, copy, in_place=False)

    def _give(self, slot: Slot, variable: str, *, in_place: bool) -> None:
        self.uses.add("give")
        self._add(f"give(find({self.names[slot[0]]}, {slot[1]!r}), {variable}, in_place={in_place})")

    def _tie(self, slot: Slot, source: Slot, view: str) -> None:
        target, given = public(slot[1]), public(source[1])
        weights = repr([target] if target == given else {target: given})
        models = ", ".join(self.names[root.part] for root in self.recipe.roots)
        call = f"{self.names[slot[0]]}, {self.names[source[0]]}, weights={weights}{view}, models=[{models}]"
        self._add(f"tiedio.tie({call})")

    def _train(self, root: Root) -> None:
        how, name = root.compile, self.names[root.part]
        if how is None:
            return
        before = "" if name == "model" else f"{name}_"
        part, outputs = self.recipe.parts[root.part], signature(self.recipe.parts, root.part)[1]
        losses = self._structure(part, ["'mse'"] * len(outputs))
        self.lines += optimizer_code(how.optimizer, how.options, name)
        self._add(f"{name}.compile(optimizer, {losses}, run_eagerly={how.eager}, jit_compile=False)")
        two = isinstance(part, Subclass) and part.arguments > 1  # Keras hands one argument over
        if how.steps and not two:
            inside = reach(self.recipe.parts, [root.part], called=True)
            sure = not self.recipe.freezes and any(
                slot[0] in inside and one.role == "weight" for slot, one in slots(self.recipe).items()
            )
            self._add(f"for _ in range({how.steps if sure else f'{how.steps} if {name}.trainable_weights else 0'}):")
            self._add(f"    {name}.train_on_batch({before}inputs, {before}targets)")

    def _together(self) -> None:
        roots = [root for root in self.recipe.roots if root.name is not None]
        for what, end, wanted in (
            ("model", "", roots),
            ("inputs", "_inputs", roots),
            ("targets", "_targets", [root for root in roots if root.compile is not None]),
        ):
            if wanted:
                self.lines += _wrapped(f"{what} = {{", [f"{r.name!r}: {self.names[r.part]}{end}" for r in wanted], "}")


def _at(values: list[str], numbers: Iterable[int]) -> list[str]:
    return [values[number] for number in numbers]


def _one(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"[{', '.join(items)}]"


def _placeholder(kind: str, name: str | None = None) -> str:
    more = (", dtype='int32'" if kind == "ids" else "") + ("" if name is None else f", name={name!r}")
    return f"keras.Input({SHAPES[kind]}{more})"


def _example(kind: str) -> str:
    shape = (BATCH, *SHAPES[kind])
    if kind == "ids":
        return f"rng.integers({WORDS}, size={shape}, dtype='int32')"
    return f"rng.uniform(-1, 1, {shape}).astype('float32')"


def _wrapped(start: str, items: list[str], end: str) -> list[str]:
    """Items on one line, or on as many as they need."""
    whole = f"{start}{', '.join(items)}{end}"
    if len(whole) <= _WIDTH:
        return [whole]
    lines = [start, "   "]
    for item in items:
        if len(lines[-1]) + len(item) > _WIDTH - 2:
            lines.append("   ")
        lines[-1] += f" {item},"
    return [*lines, end]
