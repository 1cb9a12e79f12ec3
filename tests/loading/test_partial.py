"""A part of a file, or into a part of a model: `strict=False`, `prefix`, `mapping`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import MismatchError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def encoder() -> Any:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="in"), keras.layers.Dense(2, name="out")], name="encoder"
    )


def classifier(classes: int = 3, head: str = "head") -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(classes, name=head)(encoder()(inputs)))


def raw(layer: Any) -> list[bytes]:
    return [value.tobytes() for value in layer.get_weights()]


def test_another_head(path: Path, tools: Any) -> None:
    model = classifier(classes=3)
    model.compile("adam", "mse", run_eagerly=True)
    tools.step(model)
    tiedio.save_weights(model, path)
    new = classifier(classes=5)
    new.compile("adam", "mse", run_eagerly=True)
    head = raw(new.get_layer("head"))
    report = tiedio.load_weights(new, path, strict=False)
    assert raw(new.get_layer("encoder")) == raw(model.get_layer("encoder"))
    assert raw(new.get_layer("head")) == head
    places = [one.path for one in report.mismatched]
    assert places[:2] == ["head/kernel", "head/bias"]
    assert set(places[2:]) == {f"@optimizer/{kind}/head/{w}" for kind in ("momentums", "velocities")
                               for w in ("kernel", "bias")}  # fmt: skip
    assert "encoder/in/kernel" in report.loaded
    assert "@optimizer/momentums/encoder/in/kernel" in report.loaded
    assert int(new.optimizer.iterations) == 1
    new.train_on_batch(tools.x, np.zeros((4, 5), "float32"))


def test_a_head_of_another_name(path: Path) -> None:
    model, new = classifier(), classifier(head="topics")
    tiedio.save_weights(model, path)
    report = tiedio.load_weights(new, path, strict=False)
    assert report.missing == ("topics/kernel", "topics/bias")
    assert report.unexpected == ("head/kernel", "head/bias")
    assert not report.mismatched
    assert tiedio.load_weights(new, path, mapping={"head": "topics"}).complete
    assert raw(new.get_layer("topics")) == raw(model.get_layer("head"))


def test_an_encoder_s_file_into_the_encoder_of_a_model(path: Path) -> None:
    small, whole = encoder(), classifier()
    head = raw(whole.get_layer("head"))
    tiedio.save_weights(small, path)
    assert tiedio.load_weights(whole.get_layer("encoder"), path).complete
    assert raw(whole.get_layer("encoder")) == raw(small)
    assert raw(whole.get_layer("head")) == head
    other = classifier()
    report = tiedio.load_weights(other, path, mapping={"": "encoder"}, strict=False)
    assert report.missing == ("head/kernel", "head/bias")
    assert raw(other.get_layer("encoder")) == raw(small)


@pytest.mark.parametrize("save", [tiedio.save, tiedio.save_weights])
def test_a_part_of_a_whole_model_s_file(path: Path, save: Any) -> None:
    whole = classifier()
    save(whole, path)
    small = encoder()
    assert tiedio.load_weights(small, path, prefix="encoder").complete
    assert raw(small) == raw(whole.get_layer("encoder"))
    layer = keras.layers.Dense(4)
    layer.build((None, 3))
    assert tiedio.load_weights(layer, path, prefix="encoder/in").loaded == ("kernel", "bias")
    assert raw(layer) == raw(whole.get_layer("encoder").get_layer("in"))


def test_one_of_several_roots(path: Path) -> None:
    models = {"encoder": encoder(), "whole": classifier()}
    tiedio.save_weights(models, path)
    small = encoder()
    assert tiedio.load_weights(small, path, prefix="encoder").complete
    assert raw(small) == raw(models["encoder"])
    report = tiedio.load_weights({"encoder": small}, path, strict=False)
    assert "whole/head/kernel" in report.unexpected
    assert not tiedio.load_weights(small, path, strict=False).loaded


def test_a_prefix_may_be_any_path_of_a_shared_layer(path: Path) -> None:
    inputs = keras.Input((3,))
    body = encoder()
    inner = keras.Model(inputs, body(inputs), name="inner")
    model = keras.Model(inputs, keras.layers.Add()([inner(inputs), body(inputs)]))
    tiedio.save_weights(model, path)
    for prefix in ("encoder", "inner/encoder"):
        small = encoder()
        assert tiedio.load_weights(small, path, prefix=prefix).complete
        assert raw(small) == raw(body)


def test_a_mapping_of_single_slots(path: Path) -> None:
    model, new = encoder(), encoder()
    tiedio.save_weights(model, path)
    report = tiedio.load_weights(new, path, strict=False, mapping={"in/bias": "in/bias", "out": "out"}, prefix="")
    assert report.complete
    swapped = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="first")])
    report = tiedio.load_weights(swapped, path, strict=False, mapping={"in/kernel": "first/kernel"})
    assert report.loaded == ("first/kernel",)
    assert report.missing == ("first/bias",)
    assert raw(swapped)[0] == raw(model)[0]


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({"nowhere": "in"}, "nowhere"),
        ({"in": "nowhere"}, "nowhere"),
        ({"in": "in/kernel"}, "in → in/kernel"),
        ({"in": "out", "in/": "in"}, "in/"),
        ({"in": "in", "out": "in"}, "out → in"),
    ],
)
def test_a_mapping_that_names_no_place_is_refused(path: Path, mapping: dict[str, str], named: str, tools: Any) -> None:
    tiedio.save_weights(encoder(), path)
    new = encoder()
    before = tools.picture(new)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(new, path, mapping=mapping, strict=False)
    assert named in str(caught.value.path)
    assert tools.picture(new) == before


def test_a_prefix_that_is_no_layer_is_refused(path: Path) -> None:
    tiedio.save_weights(encoder(), path)
    for prefix in ("nowhere", "in/kernel"):
        with pytest.raises(MismatchError) as caught:
            tiedio.load_weights(encoder(), path, prefix=prefix)
        assert caught.value.path == prefix


def test_a_file_of_another_model_loads_nothing_and_says_so(path: Path, tools: Any) -> None:
    tiedio.save_weights(encoder(), path)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="else")])
    before = tools.picture(other)
    report = tiedio.load_weights(other, path, strict=False)
    assert tools.picture(other) == before
    assert not report.loaded
    assert not report.complete
    assert "nothing was loaded" in str(report)
