"""One layer, cell or seed generator reached in several ways."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.zoo_base import Case, callers, case, floats, integers, share, trained
from tiedio.testing.zoo_layers import Calls, CallsEach, Noisy
from tiedio.testing.zoo_places import stack
from tiedio.testing.zoo_roots import SharesAChild

layers = keras.layers


def _inner(*parts: Any, name: str) -> Any:
    return stack(*parts, name=name)[0]


@case
def a_layer_in_a_sub_model_and_outside_it() -> Case:
    shared = layers.Dense(4, activation="tanh", name="shared")
    model, x, y = stack(_inner(shared, layers.Dense(4, name="own"), name="inner"), shared)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("shared"), m.get_layer("inner").get_layer("shared")]])


@case
def a_layer_outside_and_then_in_a_sub_model() -> Case:
    shared = layers.Dense(4, activation="tanh", name="shared")
    model, x, y = stack(shared, _inner(layers.Dense(4, name="own"), shared, name="inner"), shared)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("shared"), m.get_layer("inner").get_layer("shared")]])


@case
def a_layer_in_two_sub_models() -> Case:
    shared = layers.Dense(4, activation="tanh", name="shared")
    one = _inner(layers.Dense(4, name="own"), shared, name="one")
    two = _inner(shared, layers.Dense(4, name="own"), shared, name="two")
    model, x, y = stack(one, two, one)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).get_layer("shared") for name in ("one", "two")]])


@case
def a_layer_in_two_sequential_sub_models() -> Case:
    shared = layers.Dense(4, activation="tanh", name="shared")
    one = keras.Sequential([keras.Input((4,)), shared, layers.Dense(4, name="own")], name="one")
    two = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="own"), shared], name="two")
    model = keras.Sequential([keras.Input((4,)), one, two, shared], name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[0].layers[0], m.layers[1].layers[1], m.layers[2]]])


@case
def a_layer_at_three_levels_of_nesting() -> Case:
    shared = layers.Dense(4, activation="tanh", name="shared")
    lowest = _inner(shared, layers.Dense(4, name="own"), name="lowest")
    middle = _inner(lowest, shared, layers.Dense(4, name="own"), name="middle")
    model, x, y = stack(middle, shared, layers.Dense(4, name="own"), lowest)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        middle = m.get_layer("middle")
        lowest = middle.get_layer("lowest")
        return [
            [m.get_layer("shared"), middle.get_layer("shared"), lowest.get_layer("shared")],
            [m.get_layer("lowest"), lowest],
        ]

    return Case(model, x, y, same=same)


@case
def one_cell_in_two_rnn_layers() -> Case:
    inputs = keras.Input((4, 3), name="inputs")
    cell = layers.LSTMCell(3, name="cell")
    forward, backward = layers.RNN(cell, name="forward"), layers.RNN(cell, go_backwards=True, name="backward")
    model = keras.Model(inputs, layers.Subtract(name="difference")([forward(inputs), backward(inputs)]), name="model")
    x, y = floats(4, 4, 3), floats(4, 3)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).cell for name in ("forward", "backward")]])


@case
def one_cell_twice_in_a_stack_and_in_another_rnn() -> Case:
    inputs = keras.Input((4, 3), name="inputs")
    cell = layers.GRUCell(3, name="cell")
    deep = layers.RNN([cell, layers.SimpleRNNCell(3, name="between"), cell], name="deep")
    flat = layers.RNN(cell, name="flat")
    model = keras.Model(inputs, layers.Add(name="sum")([deep(inputs), flat(inputs)]), name="model")
    x, y = floats(4, 4, 3), floats(4, 3)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        cells = m.get_layer("deep").cell.cells
        return [[cells[0], cells[2], m.get_layer("flat").cell]]

    return Case(model, x, y, same=same)


@case
def the_layer_in_a_time_distributed_is_used_outside_too() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    dense = layers.Dense(4, activation="tanh", name="dense")
    steps = layers.TimeDistributed(dense, name="steps")(inputs)
    model = keras.Model(inputs, dense(layers.GlobalAveragePooling1D(name="mean")(steps)), name="model")
    x, y = floats(4, 3, 4), floats(4, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("dense"), m.get_layer("steps").layer]])


@case
def one_layer_in_two_time_distributed() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    dense = layers.Dense(4, activation="tanh", name="dense")
    one, two = (layers.TimeDistributed(dense, name=name) for name in ("one", "two"))
    model = keras.Model(inputs, two(one(inputs)), name="model")
    x, y = floats(4, 3, 4), floats(4, 3, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).layer for name in ("one", "two")]])


@case
def the_forward_layer_of_a_bidirectional_is_used_outside_too() -> Case:
    inputs = keras.Input((4, 3), name="inputs")
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="lstm"), merge_mode="sum", name="both")
    model = keras.Model(inputs, both.forward_layer(both(inputs)), name="model")
    x, y = floats(4, 4, 3), floats(4, 4, 3)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[-1], m.get_layer("both").forward_layer]])


@case
def the_backward_layer_of_a_bidirectional_is_used_outside_too() -> Case:
    inputs = keras.Input((4, 3), name="inputs")
    forward = layers.GRU(3, return_sequences=True, name="gru")
    backward = layers.GRU(3, return_sequences=True, go_backwards=True, name="back")
    both = layers.Bidirectional(forward, backward_layer=backward, merge_mode="ave", name="both")
    model = keras.Model(inputs, backward(both(inputs)), name="model")
    x, y = floats(4, 4, 3), floats(4, 4, 3)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("back"), m.get_layer("both").backward_layer]])


@case
def a_bidirectional_called_twice() -> Case:
    inputs = keras.Input((4, 3), name="inputs")
    both = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True, name="rnn"), merge_mode="sum", name="both")
    twice = both(once := both(inputs))
    model = keras.Model(inputs, layers.Add(name="sum")([once, twice]), name="model")
    x, y = floats(4, 4, 3), floats(4, 4, 3)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("both"), *callers(m, "sum")]])


@case
def a_layer_repeated_in_a_sequential_model() -> Case:
    dense, norm = layers.Dense(4, activation="tanh", name="dense"), layers.BatchNormalization(name="norm")
    parts = [dense, norm, dense, layers.Dense(4, name="own"), norm, dense]
    model = keras.Sequential([keras.Input((4,)), *parts], name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    # `layers` of a sequential model leaves repeats out of nothing: they are all there.
    return Case(model, x, y, same=lambda m: [[m.layers[i] for i in (0, 2, 5)], [m.layers[i] for i in (1, 4)]])


@case
def a_model_repeated_in_a_sequential_model() -> Case:
    inner = _inner(layers.Dense(4, activation="tanh", name="dense"), name="inner")
    model = keras.Sequential([keras.Input((4,)), inner, inner, layers.Dense(1, name="head")], name="model")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[0], m.layers[1]]])


@case
def a_layer_in_the_graph_and_in_a_custom_layer() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    model, x, y = stack(Calls(dense, name="calls"), dense, layers.Dense(4, name="own"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("dense"), m.get_layer("calls").source]])


@case
def a_layer_only_in_two_custom_layers() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    model, x, y = stack(Calls(dense, name="one"), Calls(dense, name="two"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).source for name in ("one", "two")]])


@case
def a_model_in_the_graph_and_in_a_custom_layer() -> Case:
    inner = _inner(layers.Dense(4, activation="tanh", name="dense"), name="inner")
    model, x, y = stack(inner, Calls(inner, name="calls"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("inner"), m.get_layer("calls").source]])


@case
def a_custom_layer_refers_to_a_layer_that_refers_to_a_layer() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    once = Calls(dense, name="once")
    model, x, y = stack(Calls(once, name="twice"), dense, once)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        once, twice = m.get_layer("once"), m.get_layer("twice")
        return [[once, twice.source], [m.get_layer("dense"), once.source, twice.source.source]]

    return Case(model, x, y, same=same)


@case
def layers_in_a_list_and_in_a_dict_of_custom_layers() -> Case:
    dense, other = layers.Dense(4, name="dense"), layers.Dense(4, name="other")
    one = CallsEach([dense, other, dense], {"again": dense}, name="one")
    two = CallsEach([other], {"left": dense, "right": layers.Dense(4, name="dense")}, name="two")
    model, x, y = stack(one, two)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        one, two = m.get_layer("one"), m.get_layer("two")
        return [
            [one.listed[0], one.listed[2], one.named["again"], two.named["left"]],
            [one.listed[1], two.listed[0]],
        ]

    def apart(m: Any) -> list[list[Any]]:
        return [[m.get_layer("one").listed[0], m.get_layer("two").named["right"]]]

    return Case(model, x, y, same=same, apart=apart)


@case
def a_child_that_a_subclassed_root_makes_is_used_by_another_child() -> Case:
    model = SharesAChild(4, name="root")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.dense, m.also_dense, m.calls.source, m.listed[0], m.inner.layers[0]]]

    return Case(model, x, y, same=same)


@case
def two_dropouts_draw_from_one_seed_generator_state() -> Case:
    one, two = layers.Dropout(0.5, seed=3, name="one"), layers.Dropout(0.5, seed=4, name="two")
    model, x, y = stack(layers.Dense(8, name="dense"), one, two)
    # The generator of a built layer cannot be replaced, its state can.
    two.seed_generator.state = one.seed_generator.state
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).seed_generator.state for name in ("one", "two")]])


@case
def seed_generators_without_a_seed_and_not_shared() -> Case:
    model, x, y = stack(
        layers.Dropout(0.5, name="one"), layers.GaussianNoise(0.5, name="two"), layers.Dense(1, name="head")
    )
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: [[m.get_layer(name).seed_generator.state for name in ("one", "two")]])


@case
def one_seed_generator_in_two_attributes() -> Case:
    model, x, y = stack(Noisy(name="noisy"), layers.Dense(4, name="dense"))
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        noisy = m.get_layer("noisy")
        return [[noisy.generator, noisy.same_generator], [noisy.generator.state, noisy.same_generator.state]]

    return Case(model, x, y, same=same)


@case
def dropout_in_attention_and_in_recurrent_cells() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    attention = layers.MultiHeadAttention(2, 2, dropout=0.3, name="attention")
    rnn = layers.GRU(3, dropout=0.3, recurrent_dropout=0.3, name="gru")
    model = keras.Model(inputs, rnn(attention(inputs, inputs)), name="model")
    share(attention._value_dense, "_kernel", attention._key_dense)
    x, y = floats(4, 3, 4), floats(4, 3)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        found = m.get_layer("attention")
        return [[found._key_dense.kernel, found._value_dense.kernel]]

    return Case(model, x, y, same=same)


@case
def a_stateful_rnn_called_twice() -> Case:
    inputs = keras.Input(batch_shape=(2, 3, 4), name="inputs")
    rnn = layers.LSTM(4, stateful=True, return_sequences=True, name="rnn")
    model = keras.Model(inputs, layers.Add(name="sum")([once := rnn(inputs), rnn(once)]), name="model")
    x, y = floats(2, 3, 4), floats(2, 3, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("rnn"), *callers(m, "sum")]])


@case
def an_embedding_and_a_dense_are_reached_through_everything_at_once() -> Case:
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    embedding, dense = layers.Embedding(5, 4, name="embedding"), layers.Dense(4, name="dense")
    inner = _inner(dense, Calls(dense, name="calls"), name="inner")
    looked_up = layers.GlobalAveragePooling1D(name="pooled")(
        layers.TimeDistributed(dense, name="steps")(embedding(tokens))
    )
    again = layers.GlobalAveragePooling1D(name="again")(embedding(tokens))
    outputs = layers.Add(name="sum")([inner(looked_up), dense(again), Calls(inner, name="outer_calls")(again)])
    model = keras.Model(tokens, outputs, name="model")
    x, y = integers(5, 4, 3), floats(4, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        inner = m.get_layer("inner")
        through = [inner.get_layer("dense"), inner.get_layer("calls").source, m.get_layer("steps").layer]
        return [[m.get_layer("dense"), *through], [inner, m.get_layer("outer_calls").source]]

    return Case(model, x, y, same=same)
