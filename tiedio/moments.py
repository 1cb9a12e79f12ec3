"""One moment of a model: the values of all its variables between two steps of training, or an error.

Another thread may train while values are taken one after the other. On TensorFlow a value that is held stays what it
is, at its address; a variable that is assigned to meanwhile gets another one. So with

    1. no step that writes to the variables going on, 2. every value held, 3. no step going on again,
    4. every variable still at the address that is held,

all values are of one moment. For if a step assigned to one variable before its value was held and to another after
that, it was going on at 1, or at 3, or it both began and assigned between the two, which 4 sees. What runs step by
step without a mark that `keras_api.is_changed_elsewhere` knows is seen by 4 alone, and by `require_still` at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiedio import keras_api, values
from tiedio.errors import ModelError
from tiedio.slots import Walk

Variables = Mapping[str, Any]


def hold_all(variables: Variables) -> dict[str, Any]:
    """The values that variables have at one moment, by name, as `values.hold` gives them.

    Raises:
        ModelError: if another thread changes them meanwhile.
    """
    if keras_api.is_alone():
        return {name: values.hold(variable) for name, variable in variables.items()}
    _require_no_step(variables)
    held = {name: values.hold(variable) for name, variable in variables.items()}
    _require_no_step(variables)
    require_still(variables, held)
    return held


def require_still(variables: Variables, held: Mapping[str, Any]) -> None:
    """Raises `ModelError` if a variable has another value than the one that is held."""
    moved = first_moved(variables, held)
    if moved is not None:
        raise changed(moved)


def first_moved(variables: Variables, held: Mapping[str, Any]) -> str | None:
    """The name of a variable that has another value than the one that is held, if there is one."""
    return next((name for name, variable in variables.items() if values.has_moved(variable, held[name])), None)


def changed(path: str, found: str = "another value than at the beginning") -> ModelError:
    """The error that tells of it."""
    return ModelError(
        "the model changed while it was saved or cloned",
        path=path,
        expected="values of one moment, between two steps of training",
        found=found,
        remedy="do it in a callback, or while training waits; tiedio.clone(model) of then can be saved in a thread",
    )


@dataclass(frozen=True, slots=True)
class Beginning:
    """What models were like before they were described: the values of their variables, and their optimizers' variables.

    The values are noted only if other threads run.
    """

    variables: Variables
    held: Mapping[str, Any]
    states: Sequence[tuple[str, Any, Sequence[Any]]]

    @staticmethod
    def of(walk: Walk, optimizers: Sequence[tuple[str, Any]]) -> Beginning:
        """Notes what a walk found, and optimizers, given with their paths."""
        variables = {} if keras_api.is_alone() else {one[0].path: one[0].variable for one in walk.by_variable()}
        held = {name: values.hold(variable) for name, variable in variables.items()}
        return Beginning(variables, held, [(path, one, list(one.variables)) for path, one in optimizers])

    def require_same(self) -> None:
        """Raises `ModelError` if another thread has changed them since."""
        for path, optimizer, before in self.states:
            if [id(one) for one in optimizer.variables] != [id(one) for one in before]:
                raise changed(path, "an optimizer that was built meanwhile")
        moved = first_moved(self.variables, self.held)
        if moved is not None and keras_api.others_compute():  # or a hook of the class, in this thread, has moved it
            raise changed(moved)


def _require_no_step(variables: Variables) -> None:
    if keras_api.is_changed_elsewhere(variables.values()):
        raise changed("the model", "another thread in the middle of a step that changes it")
