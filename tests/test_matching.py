"""Which place of a model stands for which place of a file."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from tiedio.errors import MismatchError
from tiedio.matching import Tree, align, automatic_name, read_mapping, select


def tree(*layers: tuple[str, str], graph: bool = True) -> Tree:
    """A model of layers (name, class), each with one kernel."""
    objects: list[tuple[tuple[str, ...], str]] = [(("",), "Functional")]
    objects += [((name,), kind) for name, kind in layers]
    return Tree.of(objects, [f"{name}/kernel" for name, _ in layers], [""] if graph else [])


def matched(model: Tree, file: Tree) -> dict[str, str]:
    return dict(align(model, file, [("", "")], {}).slots)


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "LSTM", "GRU", "PReLU", "BatchNormalization", "SeparableConv1D"])
def test_the_automatic_name_is_keras_s(name: str) -> None:
    cls: Any = getattr(keras.layers, name)
    arguments = {"Dense": (1,), "Conv2D": (1, 1), "LSTM": (1,), "GRU": (1,), "SeparableConv1D": (1, 1)}
    assert cls(*arguments.get(name, ())).name == automatic_name(name)


@pytest.mark.parametrize(
    ("file", "model", "pairs"),
    [
        ("dense dense_1", "dense dense_1", {"dense": "dense", "dense_1": "dense_1"}),
        ("dense dense_1", "dense_1 dense_2", {"dense_1": "dense", "dense_2": "dense_1"}),
        ("dense dense_1", "dense dense_1 dense_2", {"dense": "dense", "dense_1": "dense_1"}),
        ("dense dense_1", "dense_1 dense_2 dense_3", {}),
        ("dense head", "dense_4 head", {"dense_4": "dense", "head": "head"}),
        ("dense first", "dense_4 second", {"dense_4": "dense"}),
        ("one two", "two one", {"one": "one", "two": "two"}),
    ],
)
def test_names_tell_or_else_order_does(file: str, model: str, pairs: dict[str, str]) -> None:
    sides = [tree(*((name, "Dense") for name in side.split())) for side in (model, file)]
    assert matched(*sides) == {f"{mine}/kernel": f"{theirs}/kernel" for mine, theirs in pairs.items()}


def test_order_counts_only_among_layers_of_one_class() -> None:
    model = tree(("conv2d_1", "Conv2D"), ("dense_3", "Dense"))
    file = tree(("dense", "Dense"), ("conv2d", "Conv2D"))
    assert matched(model, file) == {"conv2d_1/kernel": "conv2d/kernel", "dense_3/kernel": "dense/kernel"}


def test_attributes_of_a_class_are_matched_by_name_only() -> None:
    model, file = (tree((name, "Dense"), graph=False) for name in ("dense_2", "dense"))
    assert matched(model, file) == {}


def shared() -> Tree:
    objects = [(("",), "Functional"), (("a",), "Functional"), (("body", "a/body"), "Dense")]
    return Tree.of(objects, ["body/kernel"], [])


def test_any_path_of_a_shared_object_leads_to_it() -> None:
    for path in ("body", "a/body"):
        assert shared().find(path) == ("object", "body")
        assert shared().find(f"{path}/kernel") == ("slot", "body/kernel")
    assert shared().find("a/nothing") is None
    assert shared().reached(["a"]) == ["body/kernel"]


def test_a_cycle_ends() -> None:
    objects = [(("", "child/parent"), "Layer"), (("child",), "Layer")]
    cyclic = Tree.of(objects, ["child/kernel"])
    assert cyclic.reached([""]) == ["child/kernel"]
    assert cyclic.find("child/parent/child/kernel") == ("slot", "child/kernel")
    assert matched(cyclic, cyclic) == {"child/kernel": "child/kernel"}


def test_one_object_may_stand_for_two() -> None:
    apart = Tree.of(
        [(("",), "M"), (("a",), "M"), (("body",), "Dense"), (("a/body",), "Dense")], ["body/kernel", "a/body/kernel"]
    )
    found = align(apart, shared(), [("", "")], {})
    assert sorted(found.slots) == [("a/body/kernel", "body/kernel"), ("body/kernel", "body/kernel")]


def test_a_mapping_moves_a_place_and_leaves_none_behind() -> None:
    model, file = tree(("one", "Dense"), ("two", "Dense")), tree(("one", "Dense"))
    mapping = read_mapping({"one": "two"}, model, file, "")
    assert align(model, file, [("", "")], mapping).slots == [("two/kernel", "one/kernel")]


def test_a_place_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(MismatchError) as caught:
        select(shared(), [""], "deep/body")
    assert caught.value.path == "deep/body"
    assert "body" in str(caught.value.expected)
