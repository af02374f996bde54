"""The top layers meet."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs

VERSION = 1


class Last(Matching):
    """The student's layers meet the teacher's last ones: (i, i + teacher layers - student layers)."""

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if student_layers > teacher_layers:
            raise ImpossibleError(
                f"matching=last needs at most as many student as teacher layers, but the student has {student_layers} "
                f"and the teacher {teacher_layers}: choose a student/size of at most {teacher_layers} layers"
            )
        return [(layer, layer + teacher_layers - student_layers) for layer in range(1, student_layers + 1)]
