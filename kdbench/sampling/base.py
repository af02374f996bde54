"""The distribution over a team of teachers, and how often one is drawn from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kdbench import counter
from kdbench.error import KdbenchError
from kdbench.progress import Progress
from kdbench.value import choice, share

Granularity = Literal["step", "micro_batch", "example", "epoch"]
GRANULARITIES = ("step", "micro_batch", "example", "epoch")
Scores = Literal["none", "teacher", "student"]
Schedule = Callable[[float], float]
TOLERANCE = 1e-6
"""Of written probabilities, whose sum must be 1."""


class Sampling(ABC):
    """Probabilities of a team's members, fixed over a training or drawn towards equal ones (Ding et al. 2023, SKD).

    Args:
        granularity: what one draw serves: an optimizer step (the paper), one of its micro-batches, a single example of
            an epoch, or an epoch.
        uniform_share: of the probability, in [0, 1], is dealt out evenly: p becomes (1 - share) p + share / n. 0 is the
            paper; `schedule` may let it change.
        schedule: `uniform_share` as a function of the progress in [0, 1], in place of the number.
    """

    scores: Scores = "none"
    """What the probabilities are made of besides options: nothing, the teachers' own scores on the validation rows, or
    those of a student that each of them has taught alone."""

    def __init__(
        self,
        granularity: Granularity = "step",
        uniform_share: float = 0.0,
        schedule: Mapping[str, Schedule] | None = None,
    ) -> None:
        choice("sampling.granularity", granularity, GRANULARITIES)
        share("sampling.uniform_share", uniform_share)
        if unknown := set(schedule or {}) - {"uniform_share"}:
            raise KdbenchError(f"sampling.schedule.{min(unknown)} is unknown: schedule uniform_share, or nothing")
        self.granularity, self.uniform_share = granularity, uniform_share
        self.annealed = dict(schedule or {}).get("uniform_share")
        for place in range(21):
            share(f"sampling.schedule.uniform_share at progress {place / 20:g}", self.share_at(place / 20))

    def members(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of a team that can be drawn at all, in its order.

        Raises:
            KdbenchError: a name that the team does not have.
        """
        return tuple(names)

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        """The options in which members stand by their names, as they are without them: for a signature."""
        return {}

    @abstractmethod
    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        """The probabilities of the members, (n,), before any is dealt out evenly.

        Args:
            names: of those that can be drawn.
            scores: theirs, higher is better, where the sampling's `scores` asks for them.

        Raises:
            KdbenchError: scores or options that make no distribution.
        """

    def share_at(self, progress: float) -> float:
        """How much is dealt out evenly at that point of the stage."""
        return self.uniform_share if self.annealed is None else self.annealed(progress)

    def probabilities(self, distribution: np.ndarray, progress: Progress) -> np.ndarray:
        """Those of a step, (n,)."""
        even = self.share_at(progress.share)
        return distribution if even == 0.0 else (1.0 - even) * distribution + even / len(distribution)


@dataclass(frozen=True)
class Moment:
    """Where in a stage a batch is seen: the progress, the micro-batch of its step, its rows' places in the source."""

    progress: Progress
    micro_batch: int
    rows: np.ndarray


@dataclass(frozen=True)
class Draws:
    """A distribution over a team, and the seed of what is drawn from it."""

    sampling: Sampling
    distribution: np.ndarray
    seed: int

    def __len__(self) -> int:
        return len(self.distribution)

    def probabilities(self, progress: Progress) -> np.ndarray:
        """Those of a step, (n,)."""
        return self.sampling.probabilities(self.distribution, progress)

    def at(self, moment: Moment) -> np.ndarray:
        """The member that teaches each row, (B,) of int64: the same for all, but with `granularity=example`.

        A function of the seed and of the draw's number alone: a resumed training sees the draws of an unbroken one, and
        every rank of a distributed training the same.
        """
        progress, rows = moment.progress, moment.rows
        numbers: dict[Granularity, tuple[np.ndarray | int, ...]] = {
            "step": (progress.step,),
            "micro_batch": (progress.step, moment.micro_batch),
            "epoch": (progress.epoch,),
            "example": (progress.epoch, rows),
        }
        counters = [np.broadcast_to(np.asarray(number), rows.shape) for number in numbers[self.sampling.granularity]]
        drawn = counter.uniform(self.seed, *counters)
        places = np.searchsorted(np.cumsum(self.probabilities(progress)), drawn, side="right")
        return np.minimum(places, len(self) - 1).astype(np.int64)


def normalised(weights: Any) -> np.ndarray:
    """Weights of 0 or more, not all 0, as probabilities in float64."""
    found = np.asarray(weights, dtype=np.float64)
    return np.asarray(found / found.sum())


def refuse_no_score(names: Sequence[str], scores: Sequence[float]) -> None:
    """Refuse a member without a score, as of a task without labelled validation rows."""
    for name, score in zip(names, scores, strict=True):
        if not math.isfinite(score):
            raise KdbenchError(f"sampling: the team's member {name} has no score to be ranked by: look at its record")
