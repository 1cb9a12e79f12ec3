"""Every kind of model, models inside models, and several roots saved together."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.data import Arguments
from tiedio.testing.zoo_base import Case, case, floats, put, share, trained, untie
from tiedio.testing.zoo_places import kernels, stack
from tiedio.testing.zoo_roots import (
    BuiltByHand,
    FunctionalSubclass,
    FunctionalSubclassWithExtra,
    HoldsAModel,
    KeywordArgument,
    OneArgument,
    TiedRoot,
    TwoArguments,
)

layers = keras.layers


def _first_and_second(m: Any) -> list[list[Any]]:
    return [[m.first.kernel, m.second.kernel]]


@case
def functional_model_without_any_tie() -> Case:
    model, x, y = stack(
        layers.Dense(4, name="one"), layers.BatchNormalization(name="norm"), layers.Dense(1, name="two")
    )
    trained(model, x, y)
    return Case(model, x, y, apart=kernels("one", "two"))


@case
def functional_model_with_several_inputs_and_outputs_by_name() -> Case:
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    outputs = {
        "sum": layers.Add(name="sum")([one(left), two(right)]),
        "product": layers.Multiply(name="product")([one(right), left]),
    }
    model = keras.Model({"left": left, "right": right}, outputs, name="model")
    share(two, "_kernel", one)
    x = {"left": floats(5, 4), "right": floats(5, 4, seed=1)}
    y = {"sum": floats(5, 4, seed=2), "product": floats(5, 4, seed=3)}
    loss = {"sum": "mse", "product": keras.losses.Huber(0.3)}
    trained(
        model,
        x,
        y,
        loss=loss,
        loss_weights={"sum": 0.3, "product": 2.0},
        metrics={"sum": ["mae"], "product": None},
    )
    return Case(model, x, y, same=kernels("one", "two"))


@case
def functional_model_that_was_never_compiled() -> Case:
    model, x, _ = stack(layers.Dense(4, name="one"), layers.Dropout(0.5, name="drop"), layers.Dense(4, name="two"))
    share(model.get_layer("two"), "_kernel", model.get_layer("one"))
    return Case(model, x, training=False, same=kernels("one", "two"))


@case
def sequential_model_with_an_input() -> Case:
    one, two = layers.Dense(4, activation="tanh", name="one"), layers.Dense(4, name="two")
    model = keras.Sequential([keras.Input((4,)), one, two], name="model")
    share(two, "_kernel", one)
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def sequential_model_made_layer_by_layer() -> Case:
    model = keras.Sequential(name="model")
    model.add(keras.Input((4,)))
    dense = layers.Dense(4, activation="tanh", name="dense")
    for layer in (dense, layers.BatchNormalization(name="norm"), dense, layers.Dense(4, name="last")):
        model.add(layer)
    share(model.layers[-1], "_kernel", dense)
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(
        model,
        x,
        y,
        same=lambda m: [[m.layers[0], m.layers[2]], [m.layers[0].kernel, m.layers[3].kernel]],
    )


@case
def sequential_model_that_lost_its_last_layer() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    model = keras.Sequential([keras.Input((4,)), dense, dense, layers.Dense(1, name="last")], name="model")
    model.pop()
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[0], m.layers[1]]])


@case
def deferred_sequential_model_built_by_a_call() -> Case:
    one, two = layers.Dense(4, activation="tanh", name="one"), layers.Dense(4, name="two")
    model = keras.Sequential([one, two], name="model")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


@case
def deferred_sequential_model_built_by_fit() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    model = keras.Sequential([dense, layers.BatchNormalization(name="norm"), dense], name="model")
    x, y = floats(5, 4), floats(5, 4)
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    model.fit(x, y, epochs=2, verbose=0)
    return Case(model, x, y, same=lambda m: [[m.layers[0], m.layers[2]]])


@case
def deferred_sequential_model_built_by_build_and_not_compiled() -> Case:
    one, two = layers.Dense(4, activation="tanh", name="one"), layers.Dense(4, name="two")
    model = keras.Sequential([one, two], name="model")
    model.build((None, 4))
    share(one, "bias", two)
    return Case(model, floats(5, 4), training=False, same=lambda m: [[m.layers[0].bias, m.layers[1].bias]])


@case
def subclassed_model_tied_after_construction() -> Case:
    model = OneArgument(name="root")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    share(model.second, "_kernel", model.first)
    trained(model, x, y)
    return Case(model, x, y, same=_first_and_second)


@case
def subclassed_model_tied_by_its_own_build() -> Case:
    model = TiedRoot(name="root")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=_first_and_second)


@case
def subclassed_model_whose_own_tie_was_undone_by_hand() -> Case:
    model = TiedRoot(name="root")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    untie(model.second, "_kernel")
    trained(model, x, y)
    return Case(model, x, y, apart=_first_and_second)


@case
def subclassed_model_with_a_shared_weight_of_its_own() -> Case:
    model = OneArgument(name="root")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    put(model.second, "bias", model.first.bias)
    put(model.second, "_kernel", model.first.kernel, keep_order=False)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [*_first_and_second(m), [m.first.bias, m.second.bias]])


@case
def subclassed_model_with_two_call_arguments() -> Case:
    model = TwoArguments(name="root")
    x, y = (floats(5, 4), floats(5, 4, seed=1)), floats(5, 1)
    model(*x)
    share(model.answer, "_kernel", model.question)
    trained(model, x, y)
    return Case(model, Arguments(x), y, same=lambda m: [[m.question.kernel, m.answer.kernel]])


@case
def subclassed_model_with_a_keyword_argument() -> Case:
    model = KeywordArgument(name="root")
    x = Arguments((floats(5, 4),), {"context": floats(5, 4, seed=1), "double": True})
    model(*x.args, **x.kwargs)
    share(model.extra, "bias", model.base)
    return Case(model, x, training=False, same=lambda m: [[m.base.bias, m.extra.bias]])


@case
def subclassed_model_with_layers_built_by_hand() -> Case:
    model = BuiltByHand(name="root")
    model.first.build((None, 4))
    model.second.build((None, 4))
    model.built = True
    share(model.second, "_kernel", model.first)
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, same=_first_and_second)


@case
def subclassed_functional_model() -> Case:
    model = FunctionalSubclass(name="root")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        nodes = [node for depth in m._nodes_by_depth.values() for node in depth]
        return [[node.operation for node in nodes if node.operation.name == "dense"]]

    return Case(model, x, y, same=same)


@case
def subclassed_functional_model_tied_after_construction() -> Case:
    model = FunctionalSubclassWithExtra(name="root")
    x, y = floats(5, 4), floats(5, 4)
    share(model.extra, "_kernel", model.kept)
    share(model.get_layer("head"), "bias", model.extra)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [
            [m.kept, m.get_layer("dense")],
            [m.kept.kernel, m.extra.kernel],
            [m.get_layer("head").bias, m.extra.bias],
        ]

    return Case(model, x, y, same=same)


@case
def subclassed_model_inside_a_functional_model() -> Case:
    inner, dense = OneArgument(name="inner"), layers.Dense(4, name="dense")
    model, x, y = stack(inner, dense, inner)
    share(dense, "_kernel", inner.second)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("dense").kernel, m.get_layer("inner").second.kernel]])


@case
def functional_model_inside_a_subclassed_model() -> Case:
    dense = layers.Dense(4, activation="tanh", name="dense")
    model = HoldsAModel(stack(dense, layers.Dense(4, name="own"), dense, name="inner")[0], name="root")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    share(model.head, "bias", dense)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.head.bias, m.inner.get_layer("dense").bias]])


@case
def sequential_model_inside_sequential_inside_functional() -> Case:
    lowest = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name="lowest")
    middle = keras.Sequential([lowest, layers.Dense(4, name="dense")], name="middle")
    model, x, y = stack(middle, layers.Dense(4, name="dense"))
    share(middle.layers[1], "_kernel", lowest.layers[0])
    share(model.layers[-1], "_kernel", lowest.layers[0])
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        middle = m.get_layer("middle")
        return [[m.get_layer("dense").kernel, middle.layers[1].kernel, middle.layers[0].layers[0].kernel]]

    return Case(model, x, y, same=same)


@case
def lambda_layer_between_two_tied_layers() -> Case:
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    double = layers.Lambda(lambda x: x * 2.0 + 1.0, output_shape=(4,), name="double")
    model, x, y = stack(one, double, two)
    share(two, "_kernel", one)
    trained(model, x, y)
    return Case(model, x, y, safe_mode=False, same=kernels("one", "two"))


def _roots(roots: dict[str, Any], x: Any, y: dict[str, Any], same: Any) -> Case:
    return Case(roots, dict.fromkeys(roots, x), y, same=same)


@case
def encoder_and_autoencoder_that_share_layers() -> Case:
    inputs = keras.Input((6,), name="inputs")
    code = layers.Dense(3, name="code")(layers.Dense(4, activation="tanh", name="hidden")(inputs))
    encoder = keras.Model(inputs, code, name="encoder")
    autoencoder = keras.Model(inputs, layers.Dense(6, name="back")(code), name="autoencoder")
    x = floats(5, 6)
    trained(autoencoder, x, x)
    roots = {"encoder": encoder, "autoencoder": autoencoder}

    def same(m: Any) -> list[list[Any]]:
        return [[m[root].get_layer(name) for root in roots] for name in ("hidden", "code")]

    return _roots(roots, x, {"autoencoder": x}, same)


@case
def encoder_called_as_a_layer_of_the_autoencoder() -> Case:
    encoder = stack(layers.Dense(4, name="hidden"), layers.Dense(4, name="code"), name="encoder")[0]
    decoder = stack(layers.Dense(4, name="back"), name="decoder")[0]
    autoencoder, x, y = stack(encoder, decoder, name="autoencoder")
    share(decoder.get_layer("back"), "bias", encoder.get_layer("code"))
    trained(autoencoder, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [
            [m["encoder"], m["autoencoder"].get_layer("encoder")],
            [m["decoder"], m["autoencoder"].get_layer("decoder")],
        ]

    return _roots({"decoder": decoder, "autoencoder": autoencoder, "encoder": encoder}, x, {"autoencoder": y}, same)


@case
def two_roots_that_share_only_a_variable_and_each_have_an_optimizer() -> Case:
    one, x, y = stack(layers.Dense(4, name="dense"), name="one")
    two = stack(layers.Dense(4, name="dense"), layers.Dense(4, name="own"), name="two")[0]
    share(two.get_layer("dense"), "_kernel", one.get_layer("dense"))
    trained(one, x, y)
    trained(two, x, y, optimizer=keras.optimizers.SGD(0.01, momentum=0.9))

    def same(m: Any) -> list[list[Any]]:
        return [[m[name].get_layer("dense").kernel for name in ("one", "two")]]

    return _roots({"one": one, "two": two}, x, {"one": y, "two": y}, same)


@case
def one_model_under_two_names() -> Case:
    model, x, y = stack(layers.Dense(4, name="dense"))
    trained(model, x, y)
    return _roots({"model": model, "also": model}, x, {"model": y}, lambda m: [[m["model"], m["also"]]])


@case
def roots_with_odd_names() -> Case:
    dense = layers.Dense(4, name="dense")
    names = ("a/b", "", "..", "a.b", "@optimizer", "new\nline", "x:0")
    roots = {name: stack(dense, layers.Dense(4, name="own"), name=f"m{i}")[0] for i, name in enumerate(names)}
    x, y = floats(5, 4), floats(5, 4)
    trained(roots["a/b"], x, y)
    return _roots(roots, x, {"a/b": y}, lambda m: [[m[name].get_layer("dense") for name in names]])


@case
def a_compiled_discriminator_inside_a_gan() -> Case:
    generator, x, _ = stack(layers.Dense(4, name="make"), name="generator")
    discriminator = stack(
        layers.Dense(4, name="look"), layers.Dense(1, activation="sigmoid", name="judge"), name="judge"
    )[0]
    loss = "binary_crossentropy"
    labels = floats(5, 1) > 0
    trained(discriminator, x, labels.astype("float32"), loss=loss)
    discriminator.trainable = False
    gan = stack(generator, discriminator, name="gan")[0]
    trained(gan, x, labels.astype("float32"), loss=loss, optimizer=keras.optimizers.SGD(0.1, momentum=0.5))
    roots = {"gan": gan, "discriminator": discriminator}
    same = lambda m: [[m["discriminator"], m["gan"].get_layer("judge")]]  # noqa: E731 -- as short as it gets
    return _roots(roots, x, {"gan": labels.astype("float32")}, same)
