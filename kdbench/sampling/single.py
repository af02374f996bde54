"""One teacher of a team, always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdbench.error import KdbenchError
from kdbench.sampling.base import Sampling

VERSION = 1


class Single(Sampling):
    """Ordinary distillation from the member of that name; the others are not even made."""

    def __init__(self, member: str) -> None:
        super().__init__()
        self.member = member

    def members(self, names: Sequence[str]) -> tuple[str, ...]:
        if self.member not in names:
            raise KdbenchError(f"sampling.member={self.member} is not in the team: choose one of {', '.join(names)}")
        return (self.member,)

    def named(self, names: Sequence[str]) -> dict[str, Any]:
        return {"member": None}  # the team's content is that member alone

    def distribution(self, names: Sequence[str], scores: Sequence[float] | None) -> np.ndarray:
        return np.ones(1)
