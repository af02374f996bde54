"""Every teacher equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbench.sampling.base import Sampling

VERSION = 1


class Uniform(Sampling):
    """1/n each: for teams of similar capacity (Ding et al. 2023)."""

    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        return np.full(len(names), 1.0 / len(names))
