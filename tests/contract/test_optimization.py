"""Every learning-rate schedule and every optimizer, found by listing their files."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR, instantiate


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))


def built(group: str, name: str) -> Any:
    return instantiate(OmegaConf.load(CONF_DIR / group / f"{name}.yaml"))


@pytest.mark.parametrize("name", options("lr_schedule"))
def test_a_schedule_stays_within_the_peak(name: str) -> None:
    factor = built("lr_schedule", name)
    for steps in (1, 2, 10, 97):
        factors = [factor(step, steps) for step in range(steps)]
        assert all(math.isfinite(value) and 0.0 <= value <= 1.0 for value in factors)
        assert max(factors) > 0.0
        assert 0.0 <= factor(steps, steps) <= 1.0  # asked for once more than there are steps


@pytest.mark.parametrize("name", options("optimizer"))
def test_an_optimizer_goes_downhill(name: str) -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = built("optimizer", name)([{"params": [weight]}])
    before = float(weight.detach().square().sum())
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert float(weight.detach().square().sum()) < before
