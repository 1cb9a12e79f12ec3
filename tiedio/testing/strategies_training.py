"""Draws optimizers by themselves, for models that a user's tests already have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from tiedio.testing.strategies_new import New, Script, class_of

# Each class, plainest first, with what it can be told beside what all of them can; the first value is its default.
_CLASSES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "SGD": {"momentum": (0.0, 0.9), "nesterov": (False, True)},
    "Adam": {"amsgrad": (False, True), "beta_1": (0.9, 0.5)},
    "AdamW": {"amsgrad": (False, True)},
    "RMSprop": {"momentum": (0.0, 0.9), "centered": (False, True)},
    "Adagrad": {"initial_accumulator_value": (0.1, 0.5)},
    "Adadelta": {"rho": (0.95, 0.5)},
    "Adamax": {"beta_2": (0.999, 0.9)},
    "Nadam": {"beta_2": (0.999, 0.9)},
    "Ftrl": {"l1_regularization_strength": (0.0, 0.1), "beta": (0.0, 0.1)},
    "Adafactor": {"relative_step": (True, False)},
    "Lion": {"beta_1": (0.9, 0.5)},
    "Lamb": {"beta_1": (0.9, 0.5)},
    "Muon": {"nesterov": (True, False), "momentum": (0.95, 0.5)},
    "ScheduleFreeAdamW": {"warmup_steps": (0, 2)},
}
_SCHEDULES = (
    New("keras.optimizers.schedules.ExponentialDecay", (0.01,), {"decay_steps": 2, "decay_rate": 0.5}),
    New("keras.optimizers.schedules.PiecewiseConstantDecay", ([1, 4], [0.1, 0.05, 0.03])),
    New("keras.optimizers.schedules.CosineDecay", (0.05, 10), {"warmup_steps": 5, "warmup_target": 0.2}),
    New("keras.optimizers.schedules.PolynomialDecay", (0.1, 2), {"power": 2.0, "cycle": True}),
    New("keras.optimizers.schedules.InverseTimeDecay", (0.1, 3, 0.5)),
)
_AVERAGES = ({"use_ema": True}, {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2})
_CLIPS = ({"clipnorm": 0.5}, {"clipvalue": 0.01}, {"global_clipnorm": 0.5})


@st.composite
def _calls(draw: st.DrawFn, *, around: bool = True) -> New:
    """The call of one class, with up to three settings; sometimes inside another optimizer."""
    whole = draw(st.sampled_from(("", "", "", "scaled", "parts"))) if around else ""
    if whole == "parts":
        inner = draw(_calls(around=False))
        made = New(
            "keras.optimizers.OptimizerMap",
            (),
            {"default_optimizer": inner, "optimizer_map": {".*bias": _plain("SGD")}},
        )
        return New("keras.optimizers.MultiOptimizer", (made,))
    name = draw(st.sampled_from(sorted(_CLASSES, key=list(_CLASSES).index)))
    settings: dict[str, Any] = {"learning_rate": draw(st.sampled_from((0.01, 0.1, *_SCHEDULES)))}
    chosen = draw(
        st.lists(st.sampled_from(("own", "ema", "decay", "clip", "accumulate", "scale")), max_size=3, unique=True)
    )
    if "own" in chosen:
        values = {one: draw(st.sampled_from(given)) for one, given in _CLASSES[name].items()}
        settings |= {one: value for one, value in values.items() if value != _CLASSES[name][one][0]}
        if settings.get("nesterov") and name == "SGD":
            settings["momentum"] = 0.9
    if "ema" in chosen:
        settings |= draw(st.sampled_from(_AVERAGES))
    if "decay" in chosen:
        settings["weight_decay"] = draw(st.sampled_from((0.01, 0.1)))
    if "clip" in chosen:
        settings |= draw(st.sampled_from(_CLIPS))
    if "accumulate" in chosen:
        settings["gradient_accumulation_steps"] = draw(st.sampled_from((2, 3)))
    if "scale" in chosen and not whole:
        settings["loss_scale_factor"] = 8.0
    one = New(f"keras.optimizers.{name}", (), settings)
    if whole == "scaled":
        return New("keras.optimizers.LossScaleOptimizer", (one,), {"initial_scale": 4.0, "dynamic_growth_steps": 2})
    return one


def _plain(name: str) -> New:
    return New(f"keras.optimizers.{name}", (), {"learning_rate": 0.01})


def optimizers() -> st.SearchStrategy[Any]:
    """Optimizers of every class that Keras has, with settings that go together, not built yet.

    Averages of weights, weight decay, clipping, accumulated gradients, a fixed or a dynamic loss scale, schedules, and
    one optimizer for biases beside another one. All of them train float32 variables. Of a failing example, hypothesis
    prints the code that makes it again; the smallest is `keras.optimizers.SGD(learning_rate=0.01)`.

    Returns:
        A strategy of `keras.optimizers.Optimizer`.

    Example:
        >>> import keras
        >>> from hypothesis import given, settings
        >>> from tiedio.testing import optimizers
        >>> @settings(deadline=None, max_examples=3, derandomize=True, database=None)
        ... @given(optimizers())
        ... def test_an_optimizer_is_fresh(optimizer):
        ...     assert not optimizer.built
        >>> test_an_optimizer_is_fresh()
    """
    return _optimizers()


@st.composite
def _optimizers(draw: st.DrawFn) -> Any:
    new = draw(_calls())
    made = draw(_building(new))
    note(Script(lambda: f"import keras\n\noptimizer = {new.code()}"))
    return made


def _building(value: Any) -> st.SearchStrategy[Any]:
    """A strategy that makes just this; `builds` lets hypothesis print the call instead of an address."""
    if isinstance(value, New):
        kwargs = {name: _building(one) for name, one in value.kwargs.items()}
        return st.builds(class_of(value.cls), *map(_building, value.args), **kwargs)
    if isinstance(value, dict):
        return st.fixed_dictionaries({key: _building(one) for key, one in value.items()})
    return st.just(value)
