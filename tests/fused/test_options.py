"""Reading an objective's options through the partials that a configuration and its schedules wrap around it."""

from __future__ import annotations

from functools import partial

import torch

from kdbench.fused.options import changed_options
from kdbench.objective.kl import kl
from kdbench.objective.margin import margin
from kdbench.objective.mse import mse


class Wrapped(partial):
    """A partial that is not merged with those inside it."""


def test_only_what_differs_from_the_defaults_is_told() -> None:
    assert changed_options(kl, kl) == {}
    assert changed_options(partial(kl, temperature=1.0, t_squared=True, per_class=False), kl) == {}
    assert changed_options(partial(kl, temperature=2.0, per_class=True), kl) == {"temperature": 2.0, "per_class": True}


def test_the_outermost_option_wins() -> None:
    for wrap in (partial, Wrapped):
        inner = wrap(kl, temperature=3.0, per_class=True)
        assert changed_options(wrap(inner, temperature=2.0), kl) == {"temperature": 2.0, "per_class": True}
        assert changed_options(wrap(inner, temperature=1.0), kl) == {"per_class": True}


def test_a_tensor_is_a_change_whatever_it_holds() -> None:
    temperature = torch.ones(3)
    assert changed_options(partial(kl, temperature=temperature), kl) == {"temperature": temperature}


def test_another_function_is_not_the_one_asked_for() -> None:
    assert changed_options(mse, kl) is None
    assert changed_options(partial(margin, inner=mse), mse) is None
    assert changed_options(lambda student, teacher, mask: mse(student, teacher, mask), mse) is None
    assert changed_options(partial(mse, torch.zeros(1)), mse) is None, "an argument without a name is not understood"


def test_an_option_that_the_function_does_not_have_is_told() -> None:
    assert changed_options(partial(mse, sharpness=2), mse) == {"sharpness": 2}
