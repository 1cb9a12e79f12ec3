"""The pytest plugin: the fixtures `round_trip` and `tied_zoo`.

pytest imports it in every session, through the entry point `pytest11`. So it imports neither Keras, NumPy nor
hypothesis: what a fixture needs is imported when a test asks for it.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiedio.testing.zoo_base import Case

_OF_HUB = "hub_"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses from the zoo.

    Args:
        parser: given by pytest.
    """
    parser.getgroup("tiedio").addoption(
        "--tiedio-zoo",
        action="append",
        default=[],
        metavar="PATTERN",
        help="run tests that use the fixture tied_zoo over the cases that match, such as 'siamese*'; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means, for `--markers` and `--strict-markers`.

    Args:
        config: given by pytest.
    """
    config.addinivalue_line(
        "markers",
        "tied_zoo(*patterns): run the test, which uses the fixture tied_zoo, over the cases whose names match one of"
        " the patterns",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses `tied_zoo` once for each case that is chosen; the cases themselves are built in the tests.

    Args:
        metafunc: given by pytest.

    Raises:
        pytest.Collector.CollectError: a pattern matches no case.
    """
    if "tied_zoo" not in metafunc.fixturenames:
        return
    marks = list(metafunc.definition.iter_markers("parametrize"))
    if any("tied_zoo" in str(mark.args[0] if mark.args else mark.kwargs["argnames"]) for mark in marks):
        return  # the test says itself which it wants
    names = _names()
    marked = [pattern for mark in metafunc.definition.iter_markers("tied_zoo") for pattern in mark.args]
    for patterns in (marked, metafunc.config.getoption("tiedio_zoo", [])):
        if patterns:
            chosen = _chosen(_names(), patterns)
            names = [name for name in names if name in chosen]
    metafunc.parametrize("tied_zoo", names, indirect=True)


def _names() -> list[str]:
    from tiedio.testing import zoo

    names = zoo.case_names()
    if find_spec("keras_hub") is not None:
        from tiedio.testing import zoo_hub

        names += [f"{_OF_HUB}{name}" for name in zoo_hub.case_names()]
    return names


def _chosen(names: list[str], patterns: Iterable[str]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            words = re.sub(r"[*?\[\]]+", "", pattern)
            starts = {name[: len(words) + 1]: name for name in reversed(names)}
            near = [starts[one] for one in difflib.get_close_matches(words, starts, 5)]
            like = f"; it has {', '.join(near[:5])}" if near else ""
            raise pytest.Collector.CollectError(f"no case of tiedio's zoo matches {pattern!r}{like}")
        chosen |= found
    return chosen


@pytest.fixture
def tied_zoo(request: pytest.FixtureRequest) -> Case:
    """A model with sharing in it, for one's own code to be tried on: the test runs once for each that is chosen.

    Args:
        request: given by pytest.

    Returns:
        The case, built afresh: its `model`, or a dict of them; `inputs`, `targets` and `custom_objects` for it.

    Raises:
        pytest.UsageError: the test was not collected as one that uses the fixture.
    """
    name = getattr(request, "param", None)
    if name is None:
        raise pytest.UsageError("name tied_zoo among the arguments of the test: it is collected once for each case")
    from tiedio.testing import zoo, zoo_hub

    if name.startswith(_OF_HUB):
        return zoo_hub.build_case(name.removeprefix(_OF_HUB))
    return zoo.build_case(name)


class RoundTrip:
    """What the fixture `round_trip` gives: `assert_round_trip`, in a folder that is kept where something is lost.

    Args:
        folders: makes the folders.
        whole: whether a failure shows the library's frames as well.
    """

    def __init__(self, folders: pytest.TempPathFactory, *, whole: bool = False) -> None:
        self._folders = folders
        self._whole = whole

    def __call__(
        self,
        model: Any,
        inputs: Any = None,
        targets: Any = None,
        *,
        training: bool = True,
        custom_objects: Mapping[str, Any] | None = None,
        safe_mode: bool = True,
        second: bool = True,
    ) -> Any:
        """Assert that a model survives `tiedio.save` and `tiedio.load` whole.

        Args:
            model: as for `tiedio.testing.assert_round_trip`, as are the others.
            inputs: what the model is called with.
            targets: what it is trained towards.
            training: whether to compare the next training step.
            custom_objects: as for `tiedio.load`.
            safe_mode: as for `tiedio.load`.
            second: whether to make a second round trip.

        Returns:
            The loaded model, or dict of models, after its training step.

        Raises:
            AssertionError: something is lost; a note says where the files are.
            tiedio.TiedioError: the model cannot be saved or loaded.
        """
        __tracebackhide__ = True
        from tiedio.errors import TiedioError
        from tiedio.testing.oracle import assert_round_trip

        folder = self._folders.mktemp(_name_of_the_test())
        try:
            loaded = assert_round_trip(
                model,
                inputs,
                targets,
                training=training,
                folder=folder,
                custom_objects=custom_objects,
                safe_mode=safe_mode,
                second=second,
            )
        except (AssertionError, TiedioError) as error:
            if any(folder.iterdir()):
                error.add_note(f"The files are in {folder}")
            if not self._whole:
                _without_frames(error)
            raise
        # What is loaded may refer to its file for as long as it likes; the name can go.
        shutil.rmtree(folder, ignore_errors=True)
        return loaded


def _without_frames(error: BaseException | None) -> None:
    """What went wrong stands in the errors; frames that say how it was found would only hide the test's own."""
    from tiedio.errors import TiedioError

    while isinstance(error, AssertionError | TiedioError):
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _name_of_the_test() -> str:
    """The name of the test that runs, as pytest's `tmp_path` is called by it."""
    name = os.environ.get("PYTEST_CURRENT_TEST", "round_trip").rpartition(" ")[0].rpartition("::")[2]
    return re.sub(r"\W", "_", name or "round_trip")[:30]


# Of the session: hypothesis runs a test many times over, and refuses what is made once for all of them.
@pytest.fixture(scope="session")
def round_trip(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> RoundTrip:
    """`tiedio.testing.assert_round_trip`, with files that are kept where it fails, and failures without our frames.

    Args:
        tmp_path_factory: given by pytest.
        pytestconfig: given by pytest.

    Returns:
        A function `round_trip(model, inputs=None, targets=None, **options)` that returns the loaded model.
    """
    return RoundTrip(tmp_path_factory, whole=bool(pytestconfig.getoption("fulltrace", False)))
