"""Pictures of models, as a user asks for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pydot
import pytest

import tiedio
from tests.hostile.good import Parts
from tests.picture.graphviz import needs_graphviz
from tiedio.demo.models import two_convolutions
from tiedio.picture import render
from tiedio.picture.picture import Picture

EVIL = ('"]; x [image="/etc/passwd"]', "<IMG SRC='/etc/passwd'/>", "a\\N\\G\\l", "a:b|c{d}", "é&amp;\u202e", "<b>]>>;")


def autoencoder() -> Any:
    pixels = keras.Input((16,), name="pixels")
    encoder = keras.layers.Dense(4, name="encoder")
    decoder = keras.layers.Dense(16, name="decoder")
    model = keras.Model(pixels, decoder(encoder(pixels)), name="autoencoder")
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    return model


def boxes(picture: Picture) -> list[str]:
    return re.findall(r"^ +(n\d+) \[label=", picture.dot, flags=re.MULTILINE)


def chain(count: int) -> Any:
    x = inputs = keras.Input((4,))
    for n in range(count):
        x = keras.layers.Dense(4, name=f"dense_{n}")(x)
    return keras.Model(inputs, x)


def test_a_tie_is_a_row_in_each_box_a_line_and_an_entry_in_the_legend() -> None:
    picture = tiedio.plot(two_convolutions(2), None)
    assert picture.dot.count("<B>T1</B> kernel") == 2
    assert picture.dot.count("<B>T2</B> bias") == 2
    assert len(re.findall(r"n\d+:t1:_ -> n\d+:t1:_ \[dir=none", picture.dot)) == 1
    assert "near/kernel<BR/>wide/kernel" in picture.dot
    colors = re.findall(r'PORT="t(\d)" BGCOLOR="(#\w+)"', picture.dot)
    assert len({color for number, color in colors}) == 2


def test_a_view_is_told_at_the_line_in_the_box_and_in_the_legend() -> None:
    picture = tiedio.plot(autoencoder(), None)
    assert picture.dot.count("transpose([1, 0])") == 3
    assert "kernel = transpose([1, 0])" in picture.dot


@pytest.mark.parametrize("build", [two_convolutions, autoencoder], ids=["two convolutions", "autoencoder"])
def test_a_file_gives_the_same_picture_as_the_model(build: Any, tmp_path: Path) -> None:
    model = build(2) if build is two_convolutions else build()
    tiedio.save(model, tmp_path / "model.safetensors")
    assert tiedio.plot(model, None).dot == tiedio.plot(tmp_path / "model.safetensors", None).dot
    assert tiedio.plot(model, None).dot == tiedio.plot(model, None).dot


def test_bytes_and_parameters_stand_where_they_are_stored() -> None:
    picture = tiedio.plot(autoencoder(), None)
    assert "272 B · 68 parameters" in picture.dot  # the encoder
    assert "64 B · 16 parameters" in picture.dot  # the decoder has a bias of its own only
    assert "336 B · 84 parameters" in picture.dot


def test_shapes_dtypes_and_activations_as_keras_shows_them() -> None:
    model = autoencoder()
    picture = tiedio.plot(model, None, show_shapes=True, show_dtype=True, show_layer_activations=True)
    for text in ("Input shape: (None, 16)", "Output shape: (None, 4)", "Dtype: float32", "Activation: linear"):
        assert text in picture.dot
    assert "pixels" not in tiedio.plot(model, None, show_layer_names=False).dot
    assert "rankdir=LR" in tiedio.plot(model, None, rankdir="LR").dot


def test_a_frozen_layer_is_marked() -> None:
    model = chain(2)
    model.layers[1].trainable = False
    assert tiedio.plot(model, None).dot.count("· frozen") == 1
    assert "not trainable" in tiedio.plot(model, None, show_trainable=True).dot


def test_a_layer_that_is_called_three_times_is_one_box_with_its_calls() -> None:
    dense, inputs = keras.layers.Dense(4), keras.Input((4,))
    picture = tiedio.plot(keras.Model(inputs, dense(dense(dense(inputs)))), None)
    assert len(boxes(picture)) == 2
    assert "called 3 times" in picture.dot
    assert '"call 1"' in picture.dot
    assert '"calls 2, 3"' in picture.dot


def test_a_nested_model_is_one_box_until_it_is_opened() -> None:
    inner = chain(2)
    one, two = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, two], keras.layers.Add()([inner(one), inner(two)]))
    folded, opened = tiedio.plot(model, None), tiedio.plot(model, None, expand_nested=True)
    assert "3 parts inside" in folded.dot
    assert len(boxes(folded)) == 4
    assert len(boxes(opened)) == 6
    assert folded.dot.count("subgraph") == 1
    assert opened.dot.count("subgraph") == 2
    assert '"of call 2"' in opened.dot


def test_two_roots_are_two_frames_and_what_they_share_stands_once() -> None:
    inputs, hidden = keras.Input((4,)), keras.layers.Dense(4, name="shared")
    one = keras.Model(inputs, keras.layers.Dense(2)(hidden(inputs)))
    other = keras.Input((4,))
    two = keras.Model(other, keras.layers.Dense(3)(hidden(other)))
    picture = tiedio.plot({"one": one, "two": two}, None)
    assert picture.dot.count("subgraph") == 2
    assert picture.dot.count("<B>shared</B>") == 1
    assert "also two/shared" in picture.dot


def test_a_subclassed_model_shows_what_it_holds() -> None:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [keras.layers.Dense(3) for _ in range(2)]

        def call(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return x

    model = Model()
    model(np.ones((1, 3), "float32"))
    picture = tiedio.plot(model, None)
    assert "<B>blocks/0</B>" in picture.dot
    assert "style=invis" in picture.dot


def test_a_file_of_weights_only_shows_objects_and_ties(tmp_path: Path) -> None:
    tiedio.save_weights(two_convolutions(2), tmp_path / "weights.safetensors")
    picture = tiedio.plot(tmp_path / "weights.safetensors", None)
    assert "<B>near</B> Conv2D" in picture.dot
    assert "dir=none" in picture.dot


def test_a_long_chain_is_folded_and_its_tie_is_told() -> None:
    model = chain(300)
    tiedio.tie(model.layers[9], model.layers[2], weights=["kernel"])
    picture = tiedio.plot(model, None)
    assert "<B>300 x Dense</B>" in picture.dot
    assert "dense_0 … dense_299" in picture.dot
    assert "<B>T1</B> kernel x 2" in picture.dot
    assert len(boxes(tiedio.plot(model, None, fold=False))) == 301


def test_repeated_blocks_of_a_large_model_become_one_box() -> None:
    picture = tiedio.plot(keras.applications.Xception(weights=None), None)
    assert len(boxes(picture)) < 48
    assert "<B>8 x 10 layers</B>" in picture.dot
    assert len(boxes(tiedio.plot(keras.applications.Xception(weights=None), None, fold=12))) <= 12


@pytest.mark.parametrize("suffix", [".dot", ".gv"])
def test_text_is_written_without_graphviz(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    picture = tiedio.plot(chain(2), tmp_path / f"model{suffix}")
    assert (tmp_path / f"model{suffix}").read_text(encoding="utf-8") == picture.dot
    assert picture._repr_svg_() is None


def test_without_graphviz_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(tiedio.BackendError, match=r"apt install graphviz.*\.dot needs no program"):
        tiedio.plot(chain(2), tmp_path / "model.svg")
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(tiedio.PathError, match=r"\.svg, \.png, \.dot, \.gv"):
        tiedio.plot("nowhere.safetensors", tmp_path / "model.jpeg")


@pytest.mark.parametrize("wrong", [{"fold": 0}, {"rankdir": "TB]"}, {"splines": '"'}])
def test_a_wrong_argument_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tiedio.plot(chain(2), None, **wrong)


def test_a_model_that_is_not_built_is_refused_with_the_remedy() -> None:
    with pytest.raises(tiedio.ModelError, match="call it on a batch"):
        tiedio.plot(keras.Sequential([keras.layers.Dense(2)]), None)


@needs_graphviz
def test_svg_and_png_are_drawn(tmp_path: Path) -> None:
    tiedio.plot(autoencoder(), tmp_path / "model.svg")
    tiedio.plot(autoencoder(), tmp_path / "model.png", dpi=50)
    assert "</svg>" in (tmp_path / "model.svg").read_text(encoding="utf-8")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (tiedio.plot(autoencoder(), None)._repr_svg_() or "")


@needs_graphviz
def test_drawing_that_takes_too_long_is_stopped_with_the_remedy() -> None:
    with pytest.raises(tiedio.TiedioError, match="fold=True"):
        render.render(
            "digraph {" + "".join(f"n{i} -> n{i * 7 % 3000};" for i in range(20000)) + "}", "svg", seconds=0.1
        )


@needs_graphviz
@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_name_is_text_and_nothing_else(name: str, tmp_path: Path) -> None:
    model = autoencoder()
    tiedio.save(model, tmp_path / "model.safetensors")
    honest = tiedio.plot(tmp_path / "model.safetensors", None, show_layer_activations=True)

    def forge(structure: Any) -> None:
        structure["objects"][0]["name"] = name
        for record in structure["objects"][1:]:
            record["name"] = name
            record["config"]["activation"] = name

    def forge_classes(manifest: Any) -> None:
        for record in manifest["objects"]:
            record["class_name"] = name

    parts = Parts.of((tmp_path / "model.safetensors").read_bytes())
    forged = parts.changed("structure", forge).changed("manifest", forge_classes)
    (tmp_path / "forged.safetensors").write_bytes(forged.built())
    picture = tiedio.plot(tmp_path / "forged.safetensors", None, show_layer_activations=True)
    graph, good = picture.to_pydot(), honest.to_pydot()
    (frame,), (good_frame,) = graph.get_subgraphs(), good.get_subgraphs()
    assert [node.get_name() for node in frame.get_nodes()] == [node.get_name() for node in good_frame.get_nodes()]
    assert {key for node in frame.get_nodes() for key in node.get_attributes()} == {"label"}
    assert len(graph.get_edges()) == len(good.get_edges())
    svg = picture.bytes_as(".svg").decode()
    assert "<image" not in svg
    assert "<a " not in svg
    assert isinstance(graph, pydot.Dot)


def test_a_file_is_drawn_without_keras(tmp_path: Path) -> None:
    tiedio.save(autoencoder(), tmp_path / "model.safetensors")
    code = (
        "import sys, tiedio\n"
        f"tiedio.plot({str(tmp_path / 'model.safetensors')!r}, {str(tmp_path / 'model.dot')!r})\n"
        "assert not {'keras', 'tensorflow', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table["nodes"][1].update(operation=99),
        lambda table: table["nodes"][1].update(args={"$tensor": [99, 0]}),
        lambda table: table["objects"].pop(),
        lambda table: table["objects"][0].update(kind="other"),
        lambda table: table["objects"][0].update(nodes="0"),
    ],
)
def test_a_damaged_structure_is_refused(change: Any, tmp_path: Path) -> None:
    tiedio.save(autoencoder(), tmp_path / "model.safetensors")
    parts = Parts.of((tmp_path / "model.safetensors").read_bytes()).changed("structure", change)
    (tmp_path / "model.safetensors").write_bytes(parts.built())
    with pytest.raises(tiedio.FormatError, match="cannot be followed"):
        tiedio.plot(tmp_path / "model.safetensors", None)


def test_a_place_of_a_million_levels_costs_no_time(tmp_path: Path) -> None:
    def forge(manifest: Any) -> None:
        manifest["objects"][1]["paths"].append("/".join("a" * 500_000))

    tiedio.save(autoencoder(), tmp_path / "model.safetensors")
    parts = Parts.of((tmp_path / "model.safetensors").read_bytes()).changed("manifest", forge)
    (tmp_path / "model.safetensors").write_bytes(parts.built())
    picture = tiedio.plot(tmp_path / "model.safetensors", None)
    assert len(picture.dot) < 10_000


def test_without_pydot_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(tiedio.BackendError, match=r"pip install 'tiedio\[plot\]'"):
        tiedio.plot(chain(1), None).to_pydot()
