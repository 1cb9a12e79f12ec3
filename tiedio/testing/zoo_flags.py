"""Ties whose sides differ in flags, and the orders and names that a tie must not disturb."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.zoo_base import Case, case, floats, share, trained
from tiedio.testing.zoo_layers import Holder, MixedFlags, OddNames
from tiedio.testing.zoo_places import biases, kernels, stack

layers = keras.layers


def _pair(
    *, first: dict[str, Any] | None = None, second: dict[str, Any] | None = None
) -> tuple[Any, Any, Any, Any, Any]:
    one, two = layers.Dense(4, name="one", **first or {}), layers.Dense(4, name="two", **second or {})
    return (*stack(one, two), one, two)


@case
def one_side_is_a_frozen_layer() -> Case:
    model, x, y, one, two = _pair()
    share(two, "_kernel", one)
    two.trainable = False  # freezes the shared variable, and `two`'s own bias
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def the_side_that_gave_the_variable_is_a_frozen_layer() -> Case:
    model, x, y, one, two = _pair(first={"trainable": False})
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def one_side_was_frozen_before_the_tie_and_the_variable_trains() -> Case:
    model, x, y, one, two = _pair(second={"trainable": False})
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def the_shared_variable_itself_is_frozen() -> Case:
    model, x, y, one, two = _pair()
    share(two, "_kernel", one)
    one.kernel.trainable = False
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def a_layer_was_frozen_and_one_of_its_variables_thawed() -> Case:
    model, x, y, one, two = _pair()
    share(two, "bias", one)
    one.trainable = False
    one.bias.trainable = True
    trained(model, x, y)
    return Case(model, x, y, same=biases("one", "two"))


@case
def a_whole_model_is_frozen_inside_another() -> Case:
    inner, *_ = stack(layers.Dense(4, name="dense"), layers.BatchNormalization(name="norm"), name="inner")
    inner.trainable = False
    model, x, y = stack(inner, layers.Dense(4, name="outer_dense"))
    share(model.get_layer("outer_dense"), "bias", inner.get_layer("dense"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("outer_dense").bias, m.layers[1].get_layer("dense").bias]])


@case
def a_regularizer_on_the_side_that_gave_the_variable() -> Case:
    model, x, y, one, two = _pair(first={"kernel_regularizer": keras.regularizers.L2(0.3)})
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def a_regularizer_on_the_side_that_lost_its_variable() -> Case:
    model, x, y, one, two = _pair(second={"kernel_regularizer": keras.regularizers.L2(0.3)})
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def different_regularizers_on_both_sides() -> Case:
    sides = keras.regularizers.L1(0.2), keras.regularizers.L2(0.3)
    model, x, y, one, two = _pair(first={"kernel_regularizer": sides[0]}, second={"kernel_regularizer": sides[1]})
    share(one, "_kernel", two)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def a_constraint_on_the_side_that_gave_the_variable() -> Case:
    model, x, y, one, two = _pair(second={"kernel_constraint": keras.constraints.MaxNorm(0.5)})
    share(one, "_kernel", two)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def a_constraint_on_the_side_that_lost_its_variable() -> Case:
    model, x, y, one, two = _pair(second={"bias_constraint": "non_neg"})
    share(two, "bias", one)
    trained(model, x, y)
    return Case(model, x, y, same=biases("one", "two"))


@case
def two_layers_of_mixed_flags_share_all_but_one_weight() -> Case:
    one, two = MixedFlags(name="one"), MixedFlags(name="two")
    model, x, y = stack(one, two)
    attrs = ("counter", "frozen", "exact", "kept_small")
    for attr in attrs:
        share(two, attr, one)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[getattr(m.get_layer(name), attr) for name in ("one", "two")] for attr in attrs]

    return Case(model, x, y, same=same, apart=lambda m: [[m.get_layer("one").plain, m.get_layer("two").plain]])


@case
def a_trainable_variable_and_a_frozen_one_become_one() -> Case:
    one, two = MixedFlags(name="one"), MixedFlags(name="two")
    model, x, y = stack(one, two)
    share(one, "frozen", two, "plain")
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("one").frozen, m.get_layer("two").plain]])


@case
def a_frozen_variable_takes_the_place_of_a_trainable_one() -> Case:
    one, two = MixedFlags(name="one"), MixedFlags(name="two")
    model, x, y = stack(one, two)
    share(two, "plain", one, "frozen")
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("one").frozen, m.get_layer("two").plain]])


@case
def the_shared_weight_comes_last_in_its_layer() -> Case:
    model, x, y, one, two = _pair()
    share(two, "_kernel", one, keep_order=False)  # the usual way: get_weights() of `two` is now bias, kernel
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def the_shared_moving_mean_comes_last_in_its_layer() -> Case:
    one, two = layers.BatchNormalization(name="one"), layers.BatchNormalization(name="two")
    model, x, y = stack(one, two)
    share(two, "moving_mean", one, keep_order=False)
    share(one, "gamma", two, keep_order=False)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[getattr(m.get_layer(name), attr) for name in ("one", "two")] for attr in ("gamma", "moving_mean")]

    return Case(model, x, y, same=same)


@case
def layers_with_odd_names_share_a_kernel() -> Case:
    names = [
        "a.b",
        "..",
        "back\\slash",
        "new\nline",
        "x:0",
        "@optimizer",
        "@node",
        "%2F",
        "~1",
        "0",
        "kernel",
        "ünï 𝄞",
        " ",
    ]
    parts = [layers.Dense(4, name=name) for name in names]
    model, x, y = stack(*parts, name="odd.model:0")
    for part in parts[1:]:
        share(part, "_kernel", parts[0])
    trained(model, x, y)
    return Case(model, x, y, same=kernels(*names), apart=biases(*names))


@case
def a_layer_with_an_empty_name_shares_a_kernel() -> Case:
    parts = layers.Dense(4, name=""), layers.Dense(4, name="named")
    model = keras.Sequential([keras.Input((4,), name="inputs"), *parts], name="")
    share(parts[1], "_kernel", parts[0])
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[0].kernel, m.layers[1].kernel]])


@case
def variables_with_odd_and_equal_names_are_shared() -> Case:
    one, two = OddNames(name="one"), OddNames(name="two")
    model, x, y = stack(one, two)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        found = m.get_layer("one")
        return [[found.odd[i], found.again[key]] for i, key in enumerate(("0", "a.b", "", "a/b", "[0]"))]

    return Case(model, x, y, same=same, apart=lambda m: [list(m.get_layer("one").odd)])


@case
def a_dict_of_variables_has_odd_keys() -> Case:
    keys = ("a/b", "a")
    model, x, y = stack(Holder(keys, name="holder"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("holder").first, m.get_layer("holder").named["a/b"]]])


@case
def layers_of_equal_names_in_two_sub_models() -> Case:
    inners = [stack(layers.Dense(4, name="dense"), layers.Dense(4, name="out"), name=name)[0] for name in ("a", "b")]
    model, x, y = stack(*inners)
    share(inners[1].get_layer("dense"), "_kernel", inners[0].get_layer("out"))
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("a").get_layer("out").kernel, m.get_layer("b").get_layer("dense").kernel]]

    return Case(model, x, y, same=same)


@case
def a_tied_kernel_with_lora_on_one_side() -> Case:
    model, x, y, one, two = _pair()
    share(two, "_kernel", one)
    one.enable_lora(2)  # freezes the shared kernel; for the other side too
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name)._kernel for name in ("one", "two")]])
