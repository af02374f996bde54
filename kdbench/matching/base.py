"""Which student layer meets which teacher layer."""

from __future__ import annotations

from abc import ABC, abstractmethod

Pairs = list[tuple[int, int]]


class Matching(ABC):
    """Pairs of (student layer, teacher layer), counted from 1; 0 is the embedding output, of hidden states only."""

    @abstractmethod
    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        """The pairs for a student and a teacher of that depth, in the order of the student's layers.

        Raises:
            ImpossibleError: where the two depths leave no such pairing.
        """
