"""Layer i meets layer i."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_count, refuse_deeper_student

VERSION = 1


class First(Matching):
    """The student's layers meet the teacher's first ones, (i, i): all of them, or the lowest `count` alone.

    Args:
        count: how many layers of either meet (first-k); None: every layer of the student.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if self.count is None:
            refuse_deeper_student("first", student_layers, teacher_layers)
        refuse_count(self.count, student_layers, teacher_layers)
        return [(layer, layer) for layer in range(1, (self.count or student_layers) + 1)]
