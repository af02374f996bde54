"""The learning rate as a factor of its peak, a pure function of the step."""

from __future__ import annotations

import math

VERSION = 1


def _warm_up(step: int, steps: int, warmup_share: float) -> float:
    """The share of the warm-up that is done before this step, in (0, 1]; 1 after it."""
    warmup_steps = round(steps * warmup_share)
    return min(1.0, (step + 1) / (warmup_steps + 1)) if step < warmup_steps else 1.0


def _progress(step: int, steps: int, warmup_share: float) -> float:
    """The share of the steps after the warm-up that is done before this step, in [0, 1]."""
    warmup_steps = round(steps * warmup_share)
    return min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))


def constant(step: int, steps: int, warmup_share: float = 0.0) -> float:
    """Linear warm-up over `warmup_share` of all steps, then the peak."""
    return _warm_up(step, steps, warmup_share)


def linear(step: int, steps: int, warmup_share: float = 0.1) -> float:
    """Linear warm-up, then a straight fall to 0 at the last step (Devlin et al. 2019)."""
    return _warm_up(step, steps, warmup_share) * (1.0 - _progress(step, steps, warmup_share))


def cosine(step: int, steps: int, warmup_share: float = 0.1) -> float:
    """Linear warm-up, then half a cosine down to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return _warm_up(step, steps, warmup_share) * 0.5 * (1.0 + math.cos(math.pi * _progress(step, steps, warmup_share)))
