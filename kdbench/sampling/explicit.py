"""Probabilities that the user writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdbench.error import KdbenchError
from kdbench.sampling.base import TOLERANCE, Granularity, Sampling, Schedule, normalised
from kdbench.value import share

VERSION = 1


class Explicit(Sampling):
    """A probability for each member by its name; a member without one, or with 0, is never drawn nor made."""

    def __init__(
        self,
        probabilities: Mapping[str, float],
        granularity: Granularity = "step",
        uniform_share: float = 0.0,
        schedule: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__(granularity, uniform_share, schedule)
        for name, value in probabilities.items():
            share(f"sampling.probabilities.{name}", value)
        total = sum(probabilities.values())
        if abs(total - 1.0) > TOLERANCE:
            raise KdbenchError(
                f"sampling.probabilities={dict(probabilities)} sum to {total:g}, not to 1: correct one of them"
            )
        self.given = dict(probabilities)

    def members(self, names: Sequence[str]) -> tuple[str, ...]:
        if unknown := set(self.given) - set(names):
            raise KdbenchError(
                f"sampling.probabilities names {min(unknown)}, which is not in the team: its members are "
                f"{', '.join(names)}"
            )
        return tuple(name for name in names if self.given.get(name, 0.0) > 0.0)

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        return {"probabilities": [self.given[name] for name in names]}

    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        return normalised([self.given[name] for name in names])
