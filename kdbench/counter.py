"""Random numbers that are functions of counters: no state, so that any of them can be asked for at any time."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, *counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), one for each combination of the counters at a place; all of one shape, 0 or greater.

    A number depends on the seed and its own counters alone. Each counter is added to the state and mixed in by the
    finalizer of SplitMix64 (Steele, Lea and Flood 2014).
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant, here and below
        first = np.uint64(seed) + GOLDEN
    state = np.broadcast_to(_mixed(first), np.broadcast_shapes(*(each.shape for each in counters)))
    for each in counters:
        state = _mixed(state + (each.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed(state: np.ndarray | np.uint64) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))
