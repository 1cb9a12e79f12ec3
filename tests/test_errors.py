"""Every error says what, where, expected, found and the remedy: one test for each that a user meets."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import errors
from tiedio.errors import ModelError, NoSuchFileError, PathError, TiedioError, UnregisteredError, UnsafeError

PACKAGE = Path(tiedio.__file__).parent


def told(caught: pytest.ExceptionInfo[Any], *words: str, path: str, expected: str, found: str, remedy: str) -> None:
    """The error carries its five parts, and its text shows all of them."""
    error, text = caught.value, str(caught.value)
    parts = {"path": path, "expected": expected, "found": found, "remedy": remedy}
    for part, wanted in parts.items():
        value = getattr(error, part)
        assert value is not None, f"no {part} in: {text}"
        assert wanted in str(value), f"{wanted!r} is not in {part} of: {text}"
        assert str(value).rstrip(".") in text
    for word in words:
        assert word in text


def model() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="model")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    tiedio.save(model(), path)
    return path


# --- classes and their text -----------------------------------------------------------------------------


def test_an_error_shows_the_parts_that_it_has() -> None:
    assert str(TiedioError("no")) == "no"
    assert str(TiedioError("no", path="a/b")) == "a/b: no"
    assert str(TiedioError("no", expected=1, found=2)) == "no; expected 1, found 2"
    assert str(TiedioError("no", found=2, remedy="try.")) == "no; found 2. Remedy: try."
    assert str(TiedioError("no", expected=0, found="")) == "no; expected 0, found "


def test_every_error_is_a_tiedio_error_and_what_python_calls_it() -> None:
    children = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert all(issubclass(child, TiedioError) for child in children)
    assert issubclass(PathError, ValueError)
    assert issubclass(NoSuchFileError, FileNotFoundError)
    assert issubclass(errors.BackendError, ImportError)
    assert issubclass(UnregisteredError, errors.RebuildError)
    assert {child.__name__ for child in children} <= set(tiedio.__all__)


def test_a_file_that_is_missing_is_caught_as_python_s_own_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tiedio.load(path)


def raised() -> Iterator[tuple[str, set[str]]]:
    """Place and given keywords of every error that the package makes."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name == "errors.py" or "testing" in file.parts or "demo" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                given = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield f"{file.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node.args[0])}", given


def test_errors_are_found_in_the_source() -> None:
    assert len(list(raised())) > 50


@pytest.mark.parametrize("part", ["path", "expected", "found", "remedy"])
def test_every_error_of_the_package_has_its(part: str) -> None:
    without = [place for place, given in raised() if part not in given]
    assert not without, "\n".join(without)


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.keras", "model", "model.safetensors.bak", "model.h5", ".SAFETENSORS"])
def test_wrong_suffix(tmp_path: Path, name: str) -> None:
    for act in (tiedio.load, functools.partial(tiedio.save, model())):
        with pytest.raises(PathError) as caught:
            act(tmp_path / name)
        suffix = os.path.splitext(name)[1] or "no suffix"
        told(caught, path=name, expected=".safetensors", found=suffix, remedy=".safetensors")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(PathError) as caught:
        tiedio.save(model(), tmp_path / "nowhere" / "model.safetensors")
    told(caught, path="model.safetensors", expected="folder", found="nowhere", remedy="create it first")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [tiedio.load, tiedio.inspect])
def test_no_such_file(path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(NoSuchFileError) as caught:
        read(path)
    told(caught, path="model.safetensors", expected="file", found="nothing", remedy="path")


def test_an_existing_file_is_kept_with_overwrite_off(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(PathError) as caught:
        tiedio.save(model(), saved, overwrite=False)
    told(caught, path="model.safetensors", expected="", found="file", remedy="overwrite=True")
    assert saved.read_bytes() == before


def test_a_folder_of_the_name_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(PathError) as caught:
        tiedio.save(model(), path)
    told(caught, path="model.safetensors", expected="a file", found="a folder", remedy="path")
    with pytest.raises(PathError):
        tiedio.load(path)


# --- what is handed to save -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thing", [3, None, "model", keras.layers.Dense(1), keras.Model, [1]], ids=lambda thing: type(thing).__name__
)
def test_what_is_not_a_model(path: Path, thing: Any) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save(thing, path)
    told(caught, "not a model", path="model", expected="keras.Model", found=type(thing).__name__, remedy="wrap")
    assert not path.exists()


def test_what_is_not_a_model_in_a_dict_is_named(path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save({"a": model(), "b": keras.layers.Dense(1)}, path)
    told(caught, path="model['b']", expected="keras.Model", found="Dense", remedy="wrap")


def test_an_empty_dict(path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save({}, path)
    told(caught, "no model", path="model", expected="model", found="empty dict", remedy="model")


@pytest.mark.parametrize("name", [1, None, ("a",), b"a"])
def test_a_root_whose_name_is_no_string(path: Path, name: Any) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save({name: model(), "b": model()}, path)
    told(caught, "no string", path="model", expected="str", found=repr(name), remedy="string")
    assert not path.exists()


# --- models that are not built --------------------------------------------------------------------------


class Custom(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.inner(x)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: Custom(name="mine"), "inner"),
        (lambda: keras.Sequential([keras.layers.Dense(1, name="first")], name="mine"), "first"),
        (lambda: keras.Sequential(name="mine"), "no variables"),
    ],
    ids=["subclassed", "sequential", "empty"],
)
def test_model_not_built(path: Path, make: Callable[[], Any], found: str) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save(make(), path)
    told(caught, "not built", path="mine", expected="built", found=found, remedy="model.build(input_shape)")
    assert not path.exists()


def test_a_root_that_is_not_built_is_named(path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        tiedio.save({"good": model(), "bad": Custom()}, path)
    told(caught, path="bad", expected="built", found="inner", remedy="build")


# --- classes and code -----------------------------------------------------------------------------------


class Scale(keras.layers.Layer):
    def __init__(self, factor: float = 2.0, initializer: Any = "zeros", **options: Any) -> None:
        super().__init__(**options)
        self.factor, self.initializer = factor, keras.initializers.get(initializer)

    def build(self, _shape: Any) -> None:
        self.shift = self.add_weight(shape=(), initializer=self.initializer)

    def call(self, x: Any) -> Any:
        return self.factor * x + self.shift

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "factor": self.factor, "initializer": initializer}


class Shift(Scale):
    pass


class Halves(keras.initializers.Initializer):
    def __call__(self, shape: Any, dtype: Any = None, **_options: Any) -> Any:
        return keras.ops.full(shape, 0.5, dtype)


def wave(x: Any) -> Any:
    return keras.ops.sin(x)


def distance(y: Any, prediction: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y - prediction))


CUSTOM = {"Scale": Scale, "Shift": Shift, "Halves": Halves, "wave": wave, "distance": distance}


def custom_model() -> Any:
    parts = [Scale(), keras.layers.Dense(2, activation=wave), Shift(initializer=Halves())]
    made = keras.Sequential([keras.Input((3,)), *parts])
    made.compile("sgd", distance)
    return made


def test_every_unregistered_class_is_named_at_once(path: Path) -> None:
    tiedio.save(custom_model(), path)
    with pytest.raises(UnregisteredError) as caught:
        tiedio.load(path)
    for name in CUSTOM:
        told(caught, path="model.safetensors", expected="registered", found=name, remedy="custom_objects")
    assert "5 " in str(caught.value)
    tiedio.load(path, custom_objects=CUSTOM)


@pytest.mark.parametrize("missing", CUSTOM)
def test_the_one_class_that_is_not_registered_is_named_alone(path: Path, missing: str) -> None:
    tiedio.save(custom_model(), path)
    with pytest.raises(UnregisteredError) as caught:
        tiedio.load(path, custom_objects={name: item for name, item in CUSTOM.items() if name != missing})
    assert caught.value.found == missing


def test_a_loss_that_is_not_registered_does_not_matter_without_compiling(path: Path) -> None:
    tiedio.save(custom_model(), path)
    loaded = tiedio.load(path, custom_objects={k: v for k, v in CUSTOM.items() if k != "distance"}, compile=False)
    assert not loaded.compiled


def test_lambda_in_safe_mode(path: Path) -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: 2 * x, name="double")])
    tiedio.save(made, path)
    with pytest.raises(UnsafeError) as caught:
        tiedio.load(path)
    told(caught, "lambda", path="model.safetensors", expected="no code", found="double", remedy="safe_mode=False")
    x = np.ones((2, 3), "float32")
    assert np.array_equal(tiedio.load(path, safe_mode=False)(x), 2 * x)


def test_optimizer_built_before_the_ties_were_made(path: Path) -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="one"), keras.layers.Dense(3, name="other")])
    made.compile("adam", "mse")
    made.train_on_batch(np.ones((1, 3)), np.ones((1, 3)))
    one, other = made.layers
    old = other.kernel
    other._tracker.unlock()
    other._kernel = one.kernel
    other._trainable_variables[:] = [v for v in other._trainable_variables if v is not old]
    other._tracker.lock()
    with pytest.raises(ModelError) as caught:
        tiedio.save(made, path)
    told(caught, path="@optimizer", expected="after the ties", found="other/kernel", remedy="compile the model again")
    assert not path.exists()
    tiedio.save(made, path, optimizer=False)
    loaded = tiedio.load(path)
    assert loaded.layers[0].kernel is loaded.layers[1].kernel


class Wide(keras.layers.Layer):
    width = 2

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(shape[-1], self.width), name="table")

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, self.table)


def test_a_class_that_makes_another_shape_than_the_file_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiedio.save(keras.Sequential([keras.Input((3,)), Wide(name="wide")]), path)
    monkeypatch.setattr(Wide, "width", 5)
    with pytest.raises(errors.MismatchError) as caught:
        tiedio.load(path, custom_objects={"Wide": Wide})
    told(caught, path="wide/table", expected="(3, 2)", found="(3, 5)", remedy="code")


def test_a_class_whose_constructor_no_longer_takes_its_config(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiedio.save(keras.Sequential([keras.Input((3,)), Scale(name="scale")]), path)

    def init(self: Any, **options: Any) -> None:
        keras.layers.Layer.__init__(self, **options)

    monkeypatch.setattr(Scale, "__init__", init)
    with pytest.raises(errors.RebuildError) as caught:
        tiedio.load(path, custom_objects={"Scale": Scale})
    told(caught, "Scale", path="scale", expected="", found="factor", remedy="get_config")
