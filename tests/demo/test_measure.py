"""The measure must be able to say no; what it says of the real formats is in test_end_to_end.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tiedio.demo import measure, models
from tiedio.demo.subjects import Size, digits_subject


def test_a_format_that_changes_values_is_found_out(tmp_path: Path) -> None:
    """This one moves a weight, makes the model anew and forgets the optimizer's state."""
    size = Size(train=16, tune=16, test=16, epochs=1, batch=16)
    subject = digits_subject(size, filters=2)

    def load(_: Path) -> Any:
        model = models.two_convolutions(2)
        model.set_weights(subject.model.get_weights())
        kernel = model.get_layer("near").kernel
        kernel.assign(np.array(kernel) + np.float32(0.01))
        model.optimizer.build(model.trainable_variables)
        return model

    broken = measure.Format("broken", ".keras", measure.KERAS.save, load)
    trip = measure.compare(subject, tmp_path, formats=(broken,), repeats=1).trips[0]
    assert not trip.predictions_equal
    assert trip.state_kept == 0
    assert trip.tie_kept, "the tie is there, only the values are not"
