"""Schedules as closed forms, their options, and what is refused of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kdbench.check import check
from kdbench.config import CONF_DIR, compose, instantiate
from kdbench.error import KdbenchError
from kdbench.schedule.constant import constant
from kdbench.schedule.cosine import cosine
from kdbench.schedule.linear import linear
from kdbench.schedule.step import step
from kdbench.schedule.window import window

Overrides = Callable[..., list[str]]
FILES = sorted((CONF_DIR / "schedule").glob("*.yaml"))
SHARES = [place / 240 for place in range(241)]
every = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def test_constant_is_constant() -> None:
    assert {constant(share, 0.3) for share in SHARES} == {0.3}


def test_linear_and_cosine_begin_and_end_exactly() -> None:
    for schedule in (linear, cosine):
        assert [schedule(share, 0.1, 0.3) for share in (0.0, 1.0)] == [0.1, 0.3]
        assert schedule(0.5, 0.1, 0.3) == pytest.approx(0.2)
        ramp = [schedule(share, 2.0, -1.0, 0.25, 0.75) for share in SHARES]
        assert {value for share, value in zip(SHARES, ramp, strict=True) if share <= 0.25} == {2.0}
        assert {value for share, value in zip(SHARES, ramp, strict=True) if share >= 0.75} == {-1.0}
        assert ramp == sorted(ramp, reverse=True)


def test_linear_is_straight_and_cosine_is_half_a_wave() -> None:
    for share in SHARES:
        assert linear(share, 1.0, 5.0) == pytest.approx(1 + 4 * share)
        assert cosine(share, 1.0, 5.0) == pytest.approx(3 - 2 * math.cos(math.pi * share))


def test_psi_of_continuation_kd_rises_by_three_quarters_of_the_progress_and_is_cut_to_1() -> None:
    def psi(share: float) -> float:
        return linear(share, 0.0, 0.666 / 1.333, 0.0, 0.666, after=1.0)

    for share in SHARES:
        assert psi(share) == pytest.approx(share / 1.333 if share <= 0.666 else 1.0)
        rest = linear(share, 1.0, 1 - 0.666 / 1.333, 0.0, 0.666, after=0.0)
        assert psi(share) + rest == pytest.approx(1.0)


def test_a_ramp_without_length_is_a_jump() -> None:
    assert [linear(share, 3.0, 7.0, 0.5, 0.5) for share in (0.0, 0.5, 0.501, 1.0)] == [3.0, 3.0, 7.0, 7.0]
    assert [cosine(share, 3.0, 7.0, 0.0, 0.0) for share in (0.0, 0.001, 1.0)] == [3.0, 7.0, 7.0]


@pytest.mark.parametrize("steps", [1, 2, 7, 10])
def test_step_is_phi_of_annealing_kd(steps: int) -> None:
    for share in SHARES:
        tau = steps
        while tau > 1 and (1 - share) * steps <= tau - 1 + 1e-9:
            tau -= 1
        assert step(share, steps) == pytest.approx(1 - (tau - 1) / steps)
    assert {round(step(share, steps) * steps, 9) for share in SHARES} == set(range(1, steps + 1))


@pytest.mark.parametrize("steps", [3, 7, 10, 30])
def test_each_step_lasts_equally_long(steps: int) -> None:
    """Boundaries are met although their binary fractions are a hair off: 12 places in each interval."""
    places = [place / (12 * steps) for place in range(12 * steps)]
    values = [round(step(share, steps) * steps) for share in places]
    assert [values.count(level) for level in range(1, steps + 1)] == [12] * steps


def test_windows_divide_a_stage() -> None:
    bounds = [0.0, 0.2, 0.5, 1.0]
    for share in SHARES:
        inside = [window(share, begin, until, 2.0) for begin, until in pairwise(bounds)]
        assert sorted(inside) == [0.0, 0.0, 2.0]
    assert [window(share, 0.2, 0.5) for share in (0.199, 0.2, 0.499, 0.5)] == [0.0, 1.0, 1.0, 0.0]
    assert window(1.0, 0.5, 1.0) == 1.0, "the last step belongs to the window that lasts until the end"


@every
def test_a_schedule_is_a_number_at_every_share_and_has_the_parameters_of_its_function(file: Path) -> None:
    node = OmegaConf.load(file)
    module, _, name = str(node._target_).rpartition(".")
    assert module == f"kdbench.schedule.{file.stem}" and node._partial_ is True
    called = getattr(import_module(module), name)
    keys = {str(key) for key in node} - {"_target_", "_partial_"}
    parameters = inspect.signature(called).parameters
    assert set(parameters) == keys | {"progress"} and import_module(module).VERSION == 1
    assert {key: node[key] for key in keys} == {key: parameters[key].default for key in keys}
    values = [instantiate(OmegaConf.to_container(node))(share) for share in SHARES]
    assert all(type(value) is float and math.isfinite(value) for value in values)


def test_every_module_is_an_option() -> None:
    modules = {file.stem for file in Path(import_module("kdbench.schedule").__path__[0]).glob("*.py")}
    assert modules - {"__init__", "base"} == {file.stem for file in FILES}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("constant", {"value": "much"}, r"^k\.value=much must be a number$"),
        ("linear", {"start": None}, r"^k\.start=None must be a number$"),
        ("linear", {"end": float("inf")}, r"^k\.end=inf must be a number$"),
        ("linear", {"begin": -0.1}, r"^k\.begin=-0\.1 must be a number from 0 to 1$"),
        ("linear", {"until": 2}, r"^k\.until=2 must be a number from 0 to 1$"),
        ("linear", {"begin": 0.8, "until": 0.2}, r"^k\.begin=0\.8 lies after k\.until=0\.2: give shares"),
        ("linear", {"after": "1", "until": 0.5}, r"^k\.after=1 must be a number, or null for the value of end$"),
        ("linear", {"after": 1.0}, r"^k\.after=1\.0 would never come.*set k\.until below 1"),
        ("cosine", {"begin": 1.0, "until": 0.0}, r"^k\.begin=1\.0 lies after k\.until=0\.0"),
        ("cosine", {"start": True}, r"^k\.start=True must be a number$"),
        ("step", {"steps": 0}, r"^k\.steps=0 must be a whole number of at least 1$"),
        ("step", {"steps": 2.5}, r"^k\.steps=2\.5 must be a whole number"),
        ("window", {"begin": 0.5, "until": 0.5}, r"^k\.begin=0\.5 does not lie before k\.until=0\.5"),
        ("window", {"until": 1.5}, r"^k\.until=1\.5 must be a number from 0 to 1$"),
        ("window", {"value": []}, r"^k\.value=\[\] must be a number$"),
    ],
)
def test_options_that_make_no_schedule_are_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    module = import_module(f"kdbench.schedule.{name}")
    module.check("k", {})
    with pytest.raises(KdbenchError, match=sentence) as caught:
        module.check("k", options)
    assert "\n" not in str(caught.value)


SOFT = "stages.task.terms.soft"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([f"+schedule@{SOFT}.schedule.weight=linear", f"{SOFT}.schedule.weight.begin=2"],
         rf"^{SOFT}\.schedule\.weight\.begin=2 must be a number from 0 to 1"),
        ([f"+schedule@{SOFT}.schedule.weight=linear", f"{SOFT}.schedule.weight.end=-1"],
         rf"^{SOFT}\.schedule\.weight becomes -.* at progress .*: a weight must be 0 or more"),
        ([f"+schedule@{SOFT}.schedule.temperature=cosine"],
         rf"^{SOFT}\.schedule\.temperature: {SOFT}\.objective\.temperature=0\.0 must be a number greater than 0"),
        ([f"+schedule@{SOFT}.schedule.temprature=constant"], rf"^{SOFT}\.schedule\.temprature names no option"),
        ([f"+schedule@{SOFT}.schedule.t_squared=constant"], r"t_squared=1\.0 must be true or false"),
        ([f"+{SOFT}.schedule.weight=0.5"], rf"^{SOFT}\.schedule\.weight=0\.5 is no schedule: choose one as \+sch"),
        (["+schedule@stages.task.terms.transfer.schedule.margin=linear", "method=unified", "objective=margin",
          "stages.task.terms.transfer.schedule.margin.end=-1"], r"objective\.margin=-.* must be 0 or more"),
        (["+schedule@stages.task.terms.transfer.schedule.inner=linear", "method=unified", "objective=margin"],
         r"schedule\.inner would take the place of .*\.objective\.inner, which is no number"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_work_is_refused_before_any_work(
    tiny: Overrides, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(KdbenchError, match=sentence.replace("stages.task", r"stages\.task")) as caught:
        check(compose(tiny("method=kd", *overrides)))
    assert "\n" not in str(caught.value)
