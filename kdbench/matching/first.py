"""Layer i meets layer i."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs

VERSION = 1


class First(Matching):
    """The student's layers meet the teacher's first ones: (i, i)."""

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if student_layers > teacher_layers:
            raise ImpossibleError(
                f"matching=first needs at most as many student as teacher layers, but the student has {student_layers} "
                f"and the teacher {teacher_layers}: choose a student/size of at most {teacher_layers} layers"
            )
        return [(layer, layer) for layer in range(1, student_layers + 1)]
