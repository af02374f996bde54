"""The top layers meet."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_count, refuse_deeper_student

VERSION = 1


class Last(Matching):
    """The student's layers meet the teacher's last ones, top with top: all of them, or the highest `count` alone.

    Layer i meets i + teacher layers - student layers, also where only the last few meet. The release of "KD of
    Transformer-based Language Models Revisited" pairs those few in reversed order: `last_reversed`.

    Args:
        count: how many layers of either meet (last-k); None: every layer of the student.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if self.count is None:
            refuse_deeper_student("last", student_layers, teacher_layers)
        refuse_count(self.count, student_layers, teacher_layers)
        lowest = student_layers - (self.count or student_layers) + 1
        return [(layer, layer + teacher_layers - student_layers) for layer in range(lowest, student_layers + 1)]
