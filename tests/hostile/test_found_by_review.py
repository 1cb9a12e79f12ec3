"""What a review got past the audit is refused now, and what nothing is made of does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiedio
from tests.hostile.configurations import Attack, argument, function
from tests.hostile.editing import write_edited
from tests.hostile.found_by_review import ATTACKS
from tests.hostile.test_configurations import good, path  # noqa: F401 - fixtures
from tests.hostile.watching import suspicious, watched


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_is_refused_by_load(attack: Attack, good: Path, path: Path) -> None:  # noqa: F811
    write_edited(path, good, attack.change)
    events, error = watched(lambda: tiedio.load(path))
    assert isinstance(error, attack.error), repr(error)
    with pytest.raises(type(error), match=attack.says):
        raise error
    assert suspicious(events, str(path)) == []


def test_an_activation_of_keras_hub_by_its_registered_name_is_no_attack(good: Path, path: Path) -> None:  # noqa: F811
    gelu = "keras_hub>gelu_approximate"
    write_edited(path, good, argument("activation", function("builtins", gelu)))
    assert tiedio.load(path).get_layer("dense").activation.__name__ == "gelu_approximate"
