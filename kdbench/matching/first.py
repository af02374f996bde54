"""Layer i meets layer i."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student

VERSION = 1


class First(Matching):
    """The student's layers meet the teacher's first ones: (i, i)."""

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("first", student_layers, teacher_layers)
        return [(layer, layer) for layer in range(1, student_layers + 1)]
