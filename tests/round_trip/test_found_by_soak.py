"""Random models that once did not come back, each by the name of what was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiedio.testing import assert_round_trip
from tiedio.testing.strategies import (
    Attach,
    Call,
    Chain,
    Compile,
    Cut,
    Freeze,
    Graph,
    Layer,
    Op,
    Recipe,
    Root,
    Subclass,
    Tie,
    build,
)

FOUND: dict[str, Recipe] = {
    "variables are excluded from weight decay before the optimizer is built": Recipe(
        (Layer("gru"), Graph(("seq",), (Call(0, (0,)),), (1,), named=True)),
        (Root(1, compile=Compile("adamw", options=("clipvalue", "weight_decay", "exclude_variables"))),),
        (Tie(((0, "cell.recurrent_kernel"), (0, "cell.kernel")), how="attribute"),),
    ),
    "embeddings are excluded from the weight decay of a muon that is not built": Recipe(
        (
            Layer("embedding", on="ids", name="A"),
            Layer("embedding", on="ids", name="a.b"),
            Layer("conv", name=" "),
            Graph(("ids",), (Call(0, (0,)), Call(2, (1,)), Call(1, (0,)), Call(0, (0,))), (2, 3, 4), name="a=b"),
            Cut(3, (0,), (3,), name="A"),
        ),
        (Root(4, compile=Compile("muon", options=("clipvalue", "weight_decay", "exclude_variables", "schedule"))),),
    ),
    "names are excluded from weight decay inside of a loss scale": Recipe(
        (
            Layer("aliased", on="vec"),
            Chain((0,)),
            Graph(("vec",), (Call(1, (0,)), Call(0, (0,)), Call(1, (1,)), Call(0, (1,))), (2, 3, 4)),
        ),
        (
            Root(2, name="encoder"),
            Root(
                1,
                name="",
                compile=Compile("rmsprop", options=("weight_decay", "exclude_names", "schedule", "loss_scale")),
            ),
        ),
        freezes=(Freeze(0, path="first", when="late"),),
        policy="mixed_bfloat16",
        seed=3,
    ),
    "several optimizers have made steps, and a variable hangs on the model": Recipe(
        (
            Layer("conv"),
            Subclass((0, 0), arguments=2),
            Graph(("seq",), (Call(0, (0,)), Call(0, (0,))), (1, 2), named=True),
        ),
        (Root(2, name="b.c:0", compile=Compile("multi", steps=2)), Root(1, name="encoder")),
        (Attach(2, (0, "bias")),),
        (Freeze(0, path="bias"),),
    ),
    "mixed precision wraps the optimizer of a model inside": Recipe(
        (
            Layer("add", name=".."),
            Layer("dense", on="vec", name="0"),
            Layer("transposed", on="vec", inner=1),
            Graph(("vec",), (Call(2, (0,)), Call(2, (0,))), (1, 2), name="x\\y"),
            Graph(
                ("vec", "seq"),
                (Call(1, (0,)), Call(3, (2,)), Call(2, (0,)), Call(0, (1, 1)), Op("add", 3, (1, "bias"))),
                (4, 5, 6, 7),
                name="two\nlines",
            ),
        ),
        (Root(4),),
        freezes=(Freeze(1, when="late"), Freeze(2, path="bias", when="late")),
        inside=(Root(3, compile=Compile()),),
        policy="mixed_float16",
        seed=1,
    ),
    "nadam makes a variable in the step that is compared": Recipe(
        (Layer("own_blocks", on="vec"), Graph(("vec",), (Call(0, (0,)),), (1,))),
        (Root(1, name="", compile=Compile("nadam", options=("global_clipnorm", "weight_decay", "exclude_names"))),),
        (Tie(((0, "heads.a.bias"), (0, "blocks.0.bias"), (0, "pair.0.bias"), (0, "blocks.1.bias"))),),
        (Freeze(0, path="blocks.0.kernel", when="before"), Freeze(0, path="blocks.1.bias", when="late")),
        seed=3,
    ),
    "a variable stands first in a bias and is no bias to the weight decay": Recipe(
        (
            Layer("layer_norm", on="vec"),
            Layer("layer_norm", on="vec"),
            Layer("dense", on="vec"),
            Graph(
                ("vec", "vec"),
                (
                    Call(2, (0,)),
                    Call(1, (2,)),
                    Op("add", 2, (1, "beta")),
                    Op("add", 2, (2, "bias")),
                    Call(0, (3,)),
                    Call(1, (1,)),
                ),
                (4, 5, 6, 7),
            ),
        ),
        (Root(3, compile=Compile("amsgrad", steps=1, options=("weight_decay", "exclude_names"))),),
        (
            Tie(((1, "gamma"), (0, "gamma"), (2, "bias"), (0, "beta")), how="attribute"),
            Tie(((0, "gamma"), (1, "gamma")), how="attribute"),
            Tie(((2, "bias"), (0, "beta"), (1, "gamma")), how="attribute"),
        ),
    ),
    "a sequential model that its call builds stands in another one and is a root": Recipe(
        (Layer("dense"), Chain((0, 0, 0), deferred=True), Chain((0, 1))),
        (Root(2, name=""), Root(1, name="encoder")),
        freezes=(Freeze(2),),
        policy="float64",
        seed=2,
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_comes_back_although(name: str, tmp_path: Path) -> None:
    built = build(FOUND[name])
    assert_round_trip(built.model, built.inputs, built.targets, training=built.trainable, folder=tmp_path)
