"""The arithmetic of every benchmark: ways that take turns, CPU time, and ratios round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

Cost = TypeVar("Cost")
Spread = tuple[float, float, float]
"""Median, least and greatest of the rounds."""


def in_turns(ways: Mapping[str, Callable[[], Cost]], rounds: int, warm_up: int = 1) -> dict[str, list[Cost]]:
    """What each way measures in each round, the order of the ways alternating (A B, B A, ...).

    Args:
        ways: each does its work once and returns its cost.
        rounds: those that count.
        warm_up: rounds before them that do not.
    """
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for turn in range(warm_up + rounds):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            found[name].append(ways[name]())
    return {name: values[warm_up:] for name, values in found.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process: with one thread it hardly depends on what else the machine does."""
    start = time.process_time()
    work()
    return time.process_time() - start


def spread(values: Sequence[float]) -> Spread:
    return statistics.median(values), min(values), max(values)


def gain(base: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times as fast ours is, the two sides of a round against each other."""
    return spread([theirs / mine for theirs, mine in zip(base, ours, strict=True)])


def gains(found: dict[str, list[float]], base: str) -> dict[str, Spread]:
    """The gain of every other way over the base."""
    return {name: gain(found[base], values) for name, values in found.items() if name != base}


@contextmanager
def step_ends(clock: Callable[[], float] = time.process_time) -> Iterator[list[float]]:
    """Collects the moments at which optimizer steps end, whoever makes them."""
    ends: list[float] = []
    handle = register_optimizer_step_post_hook(lambda *_: ends.append(clock()))
    try:
        yield ends
    finally:
        handle.remove()


def per_step(ends: Sequence[float]) -> float:
    """Mean seconds of the steps after the first, which warms up."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The relative L2 distance of two tensors."""
    return float((ours - theirs).norm() / theirs.norm())


def same(found: float, most: float, what: str) -> float:
    """Refuse to measure two sides that do not compute the same."""
    assert found <= most, f"{what}: the two sides differ by {found:.1e}, more than {most:.0e}"
    return found
