"""The best teacher alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kdbench.sampling.base import Sampling, refuse_no_score
from kdbench.value import choice, whole

VERSION = 1


class Best(Sampling):
    """Ordinary distillation from the member that scores best on the validation rows, or whose student does: what a team
    has to beat. Of equals it is the first.

    Args:
        by: `student`, the score of a student that the member taught alone (a pilot), or `teacher`, its own.
        pilot_seed: of the pilots, apart from the run's.
    """

    def __init__(self, by: Literal["student", "teacher"] = "student", pilot_seed: int = 0) -> None:
        super().__init__()
        choice("sampling.by", by, ("student", "teacher"))
        whole("sampling.pilot_seed", pilot_seed, least=0)
        self.scores, self.pilot_seed = by, pilot_seed

    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        assert scores is not None  # asked for
        refuse_no_score(names, scores)
        return np.eye(len(names))[int(np.argmax(scores))]
