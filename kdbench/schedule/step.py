"""Equal steps up to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kdbench.value import whole

VERSION = 1
ROUNDING = 1e-9  # a boundary that the binary fractions of progress miss by a hair is met


def step(progress: float, steps: int = 7) -> float:
    """phi = 1 - (tau - 1) / steps with tau = max(1, ceil((1 - progress) steps)): 1 / steps, ..., 1 (Annealing-KD).

    Jafari et al. 2021 scale the teacher's logits by it, so that the target grows from faint to full. Their tau steps
    down with the epochs, this one with the share of the steps done.

    Args:
        progress: in [0, 1].
        steps: tau_max, how many values there are, each for an equal share of the stage.
    """
    tau = max(1, math.ceil((1.0 - progress) * steps - ROUNDING))
    return 1.0 - (tau - 1) / steps


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse what is no whole number of steps."""
    whole(f"{key}.steps", options.get("steps", 1))
