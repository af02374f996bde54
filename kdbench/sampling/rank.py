"""Probabilities by how good the teachers are, or the students that they teach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from kdbench.error import KdbenchError
from kdbench.sampling.base import Granularity, Sampling, Schedule, Scores, normalised, refuse_no_score
from kdbench.value import choice, positive, whole

VERSION = 1

Scheme = Literal["linear", "score", "softmax", "softmax_rank", "geometric"]
SCHEMES = ("linear", "score", "softmax", "softmax_rank", "geometric")
TIES = {"average": "average", "order": "ordinal"}


class Rank(Sampling):
    """The better, the likelier. With r the rank (1 the worst, n the best) and s the score of a member, p is in
    proportion to

    - `linear`: r, so that the best is n times as likely as the worst;
    - `score`: s;
    - `softmax`: exp(s / theta);
    - `softmax_rank`: exp(r / theta);
    - `geometric`: q^(n - r).

    Ding et al. 2023 (SKD) name the two heuristics below and give no formula that we could read; `linear` is the plain
    reading of their names.

    Args:
        scheme: one of these.
        theta: of the two softmaxes, greater than 0: the greater, the more even.
        q: of `geometric`, between 0 and 1.
        ties: `average` gives equal scores the mean of their ranks, `order` the better rank to the later member.
        granularity, uniform_share, schedule: see `Sampling`.
    """

    def __init__(
        self,
        scheme: Scheme = "linear",
        theta: float = 1.0,
        q: float = 0.5,
        ties: Literal["average", "order"] = "average",
        granularity: Granularity = "step",
        uniform_share: float = 0.0,
        schedule: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__(granularity, uniform_share, schedule)
        choice("sampling.scheme", scheme, SCHEMES)
        choice("sampling.ties", ties, tuple(TIES))
        positive("sampling.theta", theta)
        positive("sampling.q", q)
        if q >= 1.0:
            raise KdbenchError(f"sampling.q={q} must be below 1, so that a better teacher is drawn more often")
        self.scheme, self.theta, self.q, self.ties = scheme, theta, q, ties

    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        assert scores is not None  # the class asks for them
        found = np.asarray(scores, dtype=np.float64)
        refuse_no_score(names, scores)
        ranks = rankdata(found, method=TIES[self.ties])
        if self.scheme == "score":
            if (found < 0.0).any() or not found.any():
                worst = names[int(found.argmin())]
                raise KdbenchError(
                    f"sampling.scheme=score needs scores above 0, but the team's member {worst} has {found.min():g}: "
                    "choose sampling.scheme=linear"
                )
            return normalised(found)
        if self.scheme in ("softmax", "softmax_rank"):
            values = (found if self.scheme == "softmax" else ranks) / self.theta
            return normalised(np.exp(values - values.max()))
        return normalised(ranks if self.scheme == "linear" else self.q ** (len(found) - ranks))


class TeacherRank(Rank):
    """By the teachers' scores on the validation rows."""

    scores: Scores = "teacher"


class StudentRank(Rank):
    """By the scores, on the validation rows, of students that each teacher taught alone: the run's own student, trained
    as the run trains it, once a member (pilots). The best of the three in Ding et al. 2023 where capacities are far
    apart.

    Args:
        pilot_seed: of the pilots, apart from the run's, so that runs share them.
        scheme, theta, q, ties, granularity, uniform_share, schedule: see `Rank`.
    """

    scores: Scores = "student"

    def __init__(
        self,
        pilot_seed: int = 0,
        scheme: Scheme = "linear",
        theta: float = 1.0,
        q: float = 0.5,
        ties: Literal["average", "order"] = "average",
        granularity: Granularity = "step",
        uniform_share: float = 0.0,
        schedule: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__(scheme, theta, q, ties, granularity, uniform_share, schedule)
        whole("sampling.pilot_seed", pilot_seed, least=0)
        self.pilot_seed = pilot_seed
