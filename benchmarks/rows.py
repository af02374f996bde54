"""Rows of random tokens whose lengths follow stated laws: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kdbench.data.split import Split


@dataclass(frozen=True)
class Law:
    """Lengths of rows: a distribution with this mean and spread (of the logarithm, if lognormal), cut at `most`."""

    kind: str
    mean: float
    spread: float
    most: int

    def lengths(self, rows: int) -> np.ndarray:
        random = np.random.default_rng(0)
        if self.kind == "normal":
            drawn = random.normal(self.mean, self.spread, rows)
        else:
            drawn = random.lognormal(np.log(self.mean) - self.spread**2 / 2, self.spread, rows)
        return np.clip(np.rint(drawn), 3, self.most).astype(np.int64)


LAWS = {
    "SST-2 train": Law("lognormal", 15.3, 0.68, 66),
    "SST-2 validation": Law("normal", 25.0, 11.0, 66),
    "MNLI": Law("lognormal", 39.1, 0.48, 128),
}


def rows_of(lengths: np.ndarray) -> Split:
    """Rows of these lengths with random tokens and one of two labels."""
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(1000, 30000, size=int(offsets[-1])).astype(np.int32)
    labels, index = random.integers(0, 2, size=len(lengths)), np.arange(len(lengths))
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, labels, index)
