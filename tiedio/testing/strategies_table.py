"""The small layers that random models are made of: what each takes and gives, and which variables it holds.

Pure data, so that a recipe can be drawn without building anything; a test holds it against the built layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LENGTH = 3
WIDTH = 4
WORDS = 5

SHAPES: Mapping[str, tuple[int, ...]] = {
    "seq": (LENGTH, WIDTH),
    "vec": (WIDTH,),
    "ids": (LENGTH,),
    "flat": (LENGTH * WIDTH,),
    "wide": (2 * WIDTH,),
}
"""Kinds of values, with shapes without the batch; "ids" are integers below `WORDS`, the others float32."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a layer.

    Args:
        path: attributes, indexes and keys, joined by dots.
        shape: its shape.
        role: "weight", "stat" (moving, not trained), "data" (of a dtype of its own, not trained) or "seed" (the
            state of a seed generator).
        dtype: its dtype; `None` for the one that the layer's dtype policy gives.
    """

    path: str
    shape: tuple[int, ...]
    role: str = "weight"
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table.

    Args:
        on: what it gives for each kind of value that it can be made for.
        variables: the variables that it owns; those of an inner part belong to that part.
        arguments: how many values it is called on.
        inner: what it wraps or refers to: the kinds of layers that can stand there, first the plainest.
        aliases: paths of slots that the code of its class ties to another of its slots.
        model: whether it is a model, and so can be a root.
        borrow: whether it can be built from its input shape alone, before it is called in any graph.
    """

    on: Mapping[str, str]
    variables: tuple[Variable, ...] = ()
    arguments: int = 1
    inner: tuple[str, ...] = ()
    aliases: tuple[str, ...] = field(default=())
    model: bool = False
    borrow: bool = False


def _dense(prefix: str = "", width: int = WIDTH) -> tuple[Variable, ...]:
    return Variable(f"{prefix}kernel", (width, WIDTH)), Variable(f"{prefix}bias", (WIDTH,))


def _recurrent(prefix: str, gates: int, bias: tuple[int, ...]) -> tuple[Variable, ...]:
    return (
        Variable(f"{prefix}kernel", (WIDTH, gates * WIDTH)),
        Variable(f"{prefix}recurrent_kernel", (WIDTH, gates * WIDTH)),
        Variable(f"{prefix}bias", bias),
        Variable(f"{prefix}seed_generator.state", (2,), "seed"),
    )


def _heads(name: str) -> tuple[Variable, ...]:
    return Variable(f"_{name}_dense.kernel", (WIDTH, 2, 2)), Variable(f"_{name}_dense.bias", (2, 2))


DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float64", "float8_e4m3fn",
    "float8_e5m2",
)  # fmt: skip
"""Dtypes of the variables of a "typed" layer; each has one."""

POLICIES: Mapping[str, str] = {
    "mixed_bfloat16": "float32",
    "mixed_float16": "float32",
    "float64": "float64",
    "bfloat16": "bfloat16",
}
"""Dtype policies that are drawn, beside "float32", and the dtype of the variables under each."""

_SAME = {"seq": "seq", "vec": "vec"}
_NORM = (Variable("gamma", (WIDTH,)), Variable("beta", (WIDTH,)))
_CONV = (Variable("kernel", (3, WIDTH, WIDTH)), Variable("bias", (WIDTH,)))
_SCALE = tuple(Variable(path, (WIDTH,)) for path in ("first", "second", "more.0", "named.scale"))
_BLOCKS = ("blocks.0", "blocks.1", "heads.a", "pair.0")

KINDS: Mapping[str, Kind] = {
    "dense": Kind(_SAME, _dense(), borrow=True),
    "penalized": Kind(_SAME, _dense()[:1], borrow=True),
    "conv": Kind({"seq": "seq"}, _CONV),
    "dilated": Kind({"seq": "seq"}, _CONV),
    "narrow": Kind({"flat": "vec", "wide": "vec"}),
    "embedding": Kind({"ids": "seq"}, (Variable("embeddings", (WORDS, WIDTH)),)),
    "layer_norm": Kind(_SAME, _NORM, borrow=True),
    "batch_norm": Kind(
        _SAME,
        (*_NORM, Variable("moving_mean", (WIDTH,), "stat"), Variable("moving_variance", (WIDTH,), "stat")),
    ),
    "lstm": Kind({"seq": "seq"}, _recurrent("cell.", 4, (4 * WIDTH,))),
    "gru": Kind({"seq": "vec"}, _recurrent("cell.", 3, (2, 3 * WIDTH))),
    "simple_rnn": Kind({"seq": "seq"}, _recurrent("cell.", 1, (WIDTH,))),
    "attention": Kind(
        {"seq": "seq"},
        (
            *_heads("query"),
            *_heads("key"),
            *_heads("value"),
            Variable("_output_dense.kernel", (2, 2, WIDTH)),
            Variable("_output_dense.bias", (WIDTH,)),
        ),
        arguments=2,
    ),
    "dropout": Kind(_SAME, (Variable("seed_generator.state", (2,), "seed"),)),
    "activation": Kind({**_SAME, "flat": "flat", "wide": "wide"}),
    "flatten": Kind({"seq": "flat"}),
    "reshape": Kind({"flat": "seq"}),
    "pool": Kind({"seq": "vec"}),
    "repeat": Kind({"vec": "seq"}),
    "add": Kind(_SAME, arguments=2),
    "concatenate": Kind({"vec": "wide"}, arguments=2),
    "lstm_cell": Kind({}, _recurrent("", 4, (4 * WIDTH,))),
    "gru_cell": Kind({}, _recurrent("", 3, (2, 3 * WIDTH))),
    "rnn": Kind({"seq": "vec"}, inner=("lstm_cell", "gru_cell")),
    "stacked_rnn": Kind({"seq": "vec"}, inner=("lstm_cell", "gru_cell")),  # the one cell twice, on top of itself
    "time_distributed": Kind({"seq": "seq"}, inner=("dense", "penalized", "layer_norm", "own_functional")),
    "bidirectional": Kind(
        {"seq": "seq"},
        _recurrent("forward_layer.cell.", 1, (WIDTH,)) + _recurrent("backward_layer.cell.", 1, (WIDTH,)),
    ),
    "transposed": Kind(_SAME, (Variable("bias", (WIDTH,)),), inner=("dense", "penalized")),
    "given": Kind(_SAME, inner=("dense", "penalized")),
    "aliased": Kind(_SAME, _SCALE, aliases=("second", "more.0", "named.scale")),
    "typed": Kind(_SAME, tuple(Variable(f"typed.{dtype}", (WIDTH,), "data", dtype) for dtype in DTYPES)),
    "own_blocks": Kind(_SAME, tuple(v for block in _BLOCKS for v in _dense(f"{block}.")), model=True),
    "own_by_hand": Kind(_SAME, _dense("first.") + _dense("second."), model=True),
    "own_functional": Kind(_SAME, _dense("first.") + _dense("second."), model=True),
    "own_tied": Kind(_SAME, _dense("first.") + _dense("second."), aliases=("second.kernel",), model=True),
}
"""Every kind of layer that a recipe can name; cells, which are called on nothing, stand inside others."""


FREE_DTYPE = frozenset({
    "dense", "penalized", "conv", "dilated", "narrow", "embedding", "layer_norm", "batch_norm", "lstm", "simple_rnn",
    "attention", "dropout", "activation",
})  # fmt: skip
"""Kinds that may have a dtype policy of their own: what they make inside follows it."""

RECURRENT = frozenset({"lstm", "gru", "simple_rnn", "lstm_cell", "gru_cell", "rnn", "stacked_rnn", "bidirectional"})
"""Kinds whose recurrent kernels start orthogonal."""

COST: Mapping[str, int] = {
    "lstm": 4, "gru": 4, "simple_rnn": 3, "rnn": 4, "stacked_rnn": 7, "bidirectional": 6, "time_distributed": 4,
    "attention": 3, "own_blocks": 4, "own_by_hand": 2, "own_functional": 2, "own_tied": 2, "batch_norm": 2,
}  # fmt: skip
"""How much longer a call takes than that of a dense layer, where it does."""


def variables_of(kind: str, on: str) -> tuple[Variable, ...]:
    """The variables that a layer of a kind owns.

    Args:
        kind: a name in `KINDS`.
        on: the kind of value that it is made for.

    Returns:
        Its variables.

    Example:
        >>> [variable.path for variable in variables_of("layer_norm", "seq")]
        ['gamma', 'beta']
    """
    if kind == "narrow":  # the only one whose shapes depend on what it is called on
        return _dense(width=SHAPES[on][-1])
    return KINDS[kind].variables
