"""Training steps written by hand: parameters, gradients that are added up where a parameter is used twice, optimizers.

Nothing here knows of Keras or tiedio. A parameter has the path of the variable that it stands for, such as
`encoder/kernel`; everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

Array = Any
Values = Mapping[str, Array]
Gradients = Callable[[Values, Array, Array], tuple[float, dict[str, Array]]]
"""Of parameters, inputs and targets: the loss, and its gradient for each parameter."""


# --- optimizers -------------------------------------------------------------------------------------------


@dataclass
class Sgd:
    """Gradient descent; it has no state of a parameter."""

    rate: float = 2**-4
    steps: int = 0
    state: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def step(self, parameters: dict[str, Array], gradients: Values) -> None:
        self.steps += 1
        for name, gradient in gradients.items():
            parameters[name] = parameters[name] - self.rate * gradient


@dataclass
class Adam:
    """Adam: its state of a parameter is the mean of its gradients and that of their squares."""

    # Exact in float32, in which Keras keeps them for a while even where it computes in float64.
    rate: float = 2**-6
    beta_1: float = 1 - 2**-3
    beta_2: float = 1 - 2**-10
    epsilon: float = 1e-7
    steps: int = 0
    state: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def step(self, parameters: dict[str, Array], gradients: Values) -> None:
        self.steps += 1
        for name, gradient in gradients.items():
            mean, square = self.state.get(name, (np.zeros_like(gradient), np.zeros_like(gradient)))
            mean = self.beta_1 * mean + (1 - self.beta_1) * gradient
            square = self.beta_2 * square + (1 - self.beta_2) * gradient**2
            self.state[name] = mean, square
            mean_now = mean / (1 - self.beta_1**self.steps)
            square_now = square / (1 - self.beta_2**self.steps)
            # Keras adds epsilon to the root before the correction, as the paper's section 2 does.
            small = self.epsilon / np.sqrt(1 - self.beta_2**self.steps)
            parameters[name] = parameters[name] - self.rate * mean_now / (np.sqrt(square_now) + small)


@dataclass
class Reference:
    """A model by hand: its parameters, how their gradients are found, and an optimizer."""

    parameters: dict[str, Array]
    gradients: Gradients
    optimizer: Sgd | Adam
    after_step: Callable[[dict[str, Array]], None] = lambda parameters: None
    frozen: tuple[str, ...] = ()

    def fit(self, x: Array, y: Array, batch: int) -> float:
        """A pass over the data in order; returns the mean of the losses."""
        losses = []
        for start in range(0, len(y), batch):
            part = slice(start, start + batch)
            inputs = tuple(one[part] for one in x) if isinstance(x, tuple) else x[part]
            loss, gradients = self.gradients(self.parameters, inputs, y[part])
            losses.append(loss)
            trained = {name: gradient for name, gradient in gradients.items() if name not in self.frozen}
            self.optimizer.step(self.parameters, trained)
            self.after_step(self.parameters)
        return float(np.mean(losses))

    def let_go(self, name: str) -> None:
        """Takes a parameter away, and the optimizer's state of it."""
        del self.parameters[name]
        self.optimizer.state.pop(name, None)

    def add(self, name: str, value: Array, state_of: str | None = None) -> None:
        """Gives a place a parameter of its own, with a copy of another one's state, or with new state."""
        self.parameters[name] = value.copy()
        if isinstance(self.optimizer, Adam):
            new = (np.zeros_like(value), np.zeros_like(value))
            old = new if state_of is None else self.optimizer.state[state_of]
            self.optimizer.state[name] = old[0].copy(), old[1].copy()


# --- ties -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """How a place gets its value from a parameter, and how its gradient goes back to that one."""

    parameter: str
    take: Callable[[Array], Array] = lambda value: value
    give: Callable[[Array, Array], Array] = lambda gradient, like: gradient


def same(parameter: str) -> Use:
    return Use(parameter)


def transposed(parameter: str) -> Use:
    return Use(parameter, lambda value: value.T, lambda gradient, like: gradient.T)


def reshaped(parameter: str, shape: tuple[int, ...]) -> Use:
    return Use(parameter, lambda value: value.reshape(shape), lambda gradient, like: gradient.reshape(like.shape))


def part_of(parameter: str, rows: slice, columns: slice) -> Use:
    def give(gradient: Array, like: Array) -> Array:
        whole = np.zeros_like(like)
        whole[rows, columns] = gradient
        return whole

    return Use(parameter, lambda value: value[rows, columns], give)


def added_up(network: Gradients, uses: Mapping[str, Use] | None = None) -> Gradients:
    """The gradients of a network some of whose places use a parameter of another place.

    Args:
        network: knows of no tie: each of its places has a value and a gradient of its own.
        uses: what a place uses, if not the parameter of its own name.
    """
    tied = uses or {}

    def gradients(parameters: Values, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        places = {name: Use(name) for name in parameters} | dict(tied)
        values = {name: use.take(parameters[use.parameter]) for name, use in places.items()}
        loss, at_places = network(values, x, y)
        total = {name: np.zeros_like(value) for name, value in parameters.items()}
        for name, gradient in at_places.items():
            use = places[name]
            total[use.parameter] += use.give(gradient, parameters[use.parameter])
        return loss, total

    return gradients


def taped(loss_of: Callable[[Values, Array, Array], Array]) -> Gradients:
    """The gradients of a loss in plain TensorFlow: one variable for each parameter, however often it is used."""

    def gradients(parameters: Values, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        variables = {name: tf.Variable(value) for name, value in parameters.items()}
        with tf.GradientTape() as tape:
            loss = loss_of(variables, x, y)
        found = tape.gradient(loss, variables)
        return float(loss), {name: tf.convert_to_tensor(one).numpy() for name, one in found.items()}

    return gradients


# --- networks, with their backward passes -----------------------------------------------------------------


def mean_squared_error(output: Array, y: Array) -> tuple[float, Array]:
    """The loss, and its gradient for the output."""
    difference = output - y
    return float(np.mean(difference**2)), 2 * difference / difference.size


def dense(value: Array, kernel: Array, bias: Array) -> Array:
    return value @ kernel + bias


def dense_back(up: Array, value: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """The gradients for the input, the kernel and the bias."""
    return up @ kernel.T, value.T @ up, up.sum(axis=0)


def chain(*layers: str, linear: tuple[str, ...] = ()) -> Gradients:
    """Dense layers one after another; all but the last, and those that are linear, end in tanh."""
    straight = {layers[-1], *linear}

    def network(values: Values, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        steps = [np.asarray(x, "float64")]
        for name in layers:
            output = dense(steps[-1], values[f"{name}/kernel"], values[f"{name}/bias"])
            steps.append(output if name in straight else np.tanh(output))
        loss, up = mean_squared_error(steps[-1], y)
        gradients: dict[str, Array] = {}
        for n, name in reversed(list(enumerate(layers))):
            if name not in straight:
                up = up * (1 - steps[n + 1] ** 2)
            up, kernel, bias = dense_back(up, steps[n], values[f"{name}/kernel"])
            gradients |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
        return loss, gradients

    return network


def side_by_side(*branches: Gradients, halves: int) -> Gradients:
    """Branches that get an input each, whose targets stand side by side; the loss is the mean of all."""

    def network(values: Values, x: Any, y: Array) -> tuple[float, dict[str, Array]]:
        loss = 0.0
        gradients: dict[str, Array] = {}
        for branch, one, wanted in zip(branches, x, np.split(np.asarray(y), halves, axis=1), strict=True):
            own_loss, own = branch(values, one, wanted)
            loss += own_loss / halves
            gradients |= {name: gradient / halves for name, gradient in own.items()}
        return loss, gradients

    return network


def language_model(values: Values, words: Array, targets: Array) -> tuple[float, dict[str, Array]]:
    """Embedding, the mean over the words, a dense layer that gives the next word; softmax cross entropy."""
    matrix, kernel, bias = values["embedding/embeddings"], values["next/kernel"], values["next/bias"]
    words = np.asarray(words, int)
    count, length = words.shape
    meaning = matrix[words].mean(axis=1)
    logits = dense(meaning, kernel, bias)
    logits = logits - logits.max(axis=1, keepdims=True)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.asarray(targets, int).reshape(-1)
    loss = float(-np.mean(np.log(softmax[np.arange(count), wanted])))
    up = softmax.copy()
    up[np.arange(count), wanted] -= 1
    up, for_kernel, for_bias = dense_back(up / count, meaning, kernel)
    rows = np.zeros_like(matrix)
    np.add.at(rows, words, up[:, None, :] / length)  # a word that occurs twice adds twice
    return loss, {"embedding/embeddings": rows, "next/kernel": for_kernel, "next/bias": for_bias}
