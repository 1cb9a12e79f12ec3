"""The pytest plugin as a user meets it: what it costs, its fixtures, its option and its marker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiedio.testing import oracle, zoo, zoo_hub  # what a session inside this one imports is forgotten after it

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "tiedio.testing.plugin"
HEAVY = {"keras", "numpy", "tensorflow", "jax", "torch", "keras_hub", "hypothesis", "h5py", "safetensors", "rich"}
TIED = """
    import keras, pytest, tiedio

    @pytest.fixture
    def model():
        one, two = keras.layers.Dense(2), keras.layers.Dense(2)
        model = keras.Sequential([keras.Input((2,)), one, two])
        tiedio.tie(two, one)
        return model
"""
LOSES = """
    def _loses(monkeypatch):
        load = tiedio.load
        def loses(path, **options):
            loaded = load(path, **options)
            tiedio.untie(loaded.layers[1], ["bias"], models=loaded)
            return loaded
        monkeypatch.setitem(vars(tiedio), "load", loses)
"""


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A session that has only the plugins that it names; Keras is there already."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    assert all((oracle, zoo, zoo_hub))
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", "--strict-markers", *arguments)


def python(*arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_session_that_does_not_use_the_plugin_imports_nothing_for_it() -> None:
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        f"import {PLUGIN}\n"
        "new = {name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names}\n"
        "print(sorted(new))"
    )
    assert python("-c", code).strip() == str(["tiedio", "tiedio.testing", PLUGIN])


def test_a_whole_session_of_other_tests_imports_nothing_heavy(tmp_path: Path) -> None:
    test = (
        "import sys\n\n"
        "def test_nothing_heavy_is_there():\n"
        f"    assert sorted({HEAVY!r} & set(sys.modules)) == []\n"
        f"    assert {PLUGIN!r} in sys.modules\n"
    )
    (tmp_path / "test_light.py").write_text(test, encoding="utf-8")
    out = python(
        *("-m", "pytest", "-p", PLUGIN, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert "1 passed" in out


def test_importing_the_public_names_costs_nothing_before_one_is_used() -> None:
    code = f"import sys, tiedio.testing as t; dir(t); print(sorted({HEAVY!r} & set(sys.modules)))"
    assert python("-c", code).strip() == "[]"


def test_strategies_without_hypothesis_say_how_to_get_it_and_the_rest_works() -> None:
    code = (
        "import sys\n"
        "sys.modules['hypothesis'] = None\n"
        "import tiedio.testing as t\n"
        "t.assert_round_trip, t.assert_same_ties\n"
        "for name in ('tied_models', 'ties', 'optimizers'):\n"
        "    try:\n"
        "        getattr(t, name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
    )
    lines = python("-c", code).splitlines()
    assert lines == [
        f"tiedio.testing.{name} needs hypothesis, which is not installed; pip install 'tiedio[testing]'"
        for name in ("tied_models", "ties", "optimizers")
    ]


def test_round_trip_gives_the_loaded_model_and_leaves_no_files(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TIED
        + """
    def test_it(model, round_trip, tmp_path):
        loaded = round_trip(model, training=False)
        assert loaded.layers[0].kernel is loaded.layers[1].kernel
        assert [*tmp_path.parent.rglob("*.safetensors")] == []
        """
    )
    run(pytester, "-W", "ignore::DeprecationWarning").assert_outcomes(passed=1)


def test_a_failing_round_trip_shows_the_test_the_fault_and_the_files_and_no_frame_of_the_library(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        TIED
        + LOSES
        + """
    def test_it(model, round_trip, monkeypatch):
        _loses(monkeypatch)
        round_trip(model)
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    result.stdout.fnmatch_lines(["*round_trip(model)*", "E*ties, after the first load:*", "E*are one variable in the*"])
    assert ">       round_trip(model)" in text
    assert "oracle.py" not in text
    assert "plugin.py" not in text
    folder = Path(text.partition("The files are in ")[2].splitlines()[0])
    assert folder.name.startswith("test_it")
    assert sorted(path.name for path in folder.iterdir()) == ["again.safetensors", "first.safetensors"]
    assert "oracle.py" in run(pytester, "--full-trace").stdout.str()


def test_a_refused_save_is_told_without_frames_of_the_library(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import keras

    class Odd(keras.layers.Layer):
        def __init__(self, other):
            super().__init__()
            self.other = other

        def build(self, shape):
            self.other.build(shape)

        def call(self, x):
            return x

    def test_it(round_trip):
        round_trip(keras.Sequential([keras.Input((2,)), Odd(keras.layers.Dense(2))]))
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "Remedy:" in text
    assert "tiedio/" not in text
    assert "The files are in" not in text


def test_asserting_directly_hides_the_oracles_frames_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        TIED
        + LOSES
        + """
    def test_it(model, monkeypatch):
        from tiedio.testing import assert_round_trip
        _loses(monkeypatch)
        assert_round_trip(model)

    def test_ties(model):
        from tiedio.testing import assert_same_ties
        assert_same_ties(model, keras.models.clone_model(model))
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=2)
    assert "oracle.py" not in result.stdout.str()
    assert "same_ties.py" not in result.stdout.str()


def test_round_trip_goes_with_hypothesis(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    from hypothesis import given, settings
    from tiedio.testing import tied_models

    @settings(max_examples=2, deadline=None, database=None, derandomize=True)
    @given(built=tied_models())
    def test_it(round_trip, built):
        round_trip(built.model, built.inputs, built.targets, training=built.trainable)
        """
    )
    run(pytester, "-p", "_hypothesis_pytestplugin", "-W", "ignore").assert_outcomes(passed=1)


ZOO = """
    import pytest

    built = []

    {mark}
    def test_it(tied_zoo, request):
        assert tied_zoo.model is not None
        assert tied_zoo.name in request.node.name
"""


def collected(result: pytest.RunResult) -> list[str]:
    return [
        line.partition("[")[2].rstrip("]") for line in result.stdout.lines if line.startswith("test_") and "[" in line
    ]


def test_a_test_over_the_zoo_runs_once_for_each_case_that_is_chosen(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ZOO.format(mark='@pytest.mark.tied_zoo("one_layer_called_*", "siamese*")'))
    names = [n for n in zoo.case_names() if n.startswith(("one_layer_called_", "siamese"))]
    assert collected(run(pytester, "--collect-only", "-q")) == names
    chosen = [name for name in names if name.startswith("siamese")]
    assert collected(run(pytester, "--collect-only", "-q", "--tiedio-zoo=siamese*", "--tiedio-zoo=tied*")) == chosen
    result = run(pytester, "--tiedio-zoo=one_layer_called_three*", "-v")
    result.assert_outcomes(passed=1)
    assert "test_it[one_layer_called_three_times] PASSED" in result.stdout.str()


def test_the_whole_zoo_is_there_and_kerashubs_only_where_it_is_installed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(ZOO.format(mark=""))
    ours, theirs = zoo.case_names(), [f"hub_{name}" for name in zoo_hub.case_names()]
    monkeypatch.setattr(f"{PLUGIN}.find_spec", lambda _: object())
    assert collected(run(pytester, "--collect-only", "-q")) == [*ours, *theirs]
    monkeypatch.setattr(f"{PLUGIN}.find_spec", lambda _: None)
    assert collected(run(pytester, "--collect-only", "-q")) == ours


def test_a_pattern_that_matches_nothing_is_an_error_that_names_what_is_like_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ZOO.format(mark=""))
    result = run(pytester, "--tiedio-zoo=siamse*")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no case of tiedio's zoo matches 'siamse*'; it has *siamese*"])


def test_a_test_may_say_by_itself_which_cases_it_wants(pytester: pytest.Pytester) -> None:
    mark = '@pytest.mark.parametrize("tied_zoo", ["one_layer_called_three_times"], indirect=True)'
    pytester.makepyfile(ZOO.format(mark=mark))
    run(pytester).assert_outcomes(passed=1)


def test_the_option_and_the_marker_explain_themselves(pytester: pytest.Pytester) -> None:
    run(pytester, "--help").stdout.fnmatch_lines(["tiedio:", "*--tiedio-zoo=PATTERN*"])
    run(pytester, "--markers").stdout.fnmatch_lines(["@pytest.mark.tied_zoo(*patterns)*"])
    pytester.makepyfile("def test_it(round_trip, tied_zoo): pass")
    run(pytester, "--fixtures-per-test", "--tiedio-zoo=siamese*").stdout.fnmatch_lines(["*round_trip*", "*tied_zoo*"])


def test_it_works_in_the_processes_of_xdist(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(
        """
    import pytest

    @pytest.mark.tied_zoo("one_layer_called_t*", "siamese_network_calls_one_lstm*")
    def test_it(tied_zoo, round_trip):
        case = tied_zoo
        round_trip(case.model, case.inputs, case.targets, training=case.training, second=False)
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = pytester.runpytest_subprocess("-p", PLUGIN, "-p", "xdist", "-n", "1", "--strict-markers", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*gw0*PASSED*test_it*one_layer_called_three_times*"])
