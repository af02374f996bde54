"""The top layers meet."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student

VERSION = 1


class Last(Matching):
    """The student's layers meet the teacher's last ones: (i, i + teacher layers - student layers)."""

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("last", student_layers, teacher_layers)
        return [(layer, layer + teacher_layers - student_layers) for layer in range(1, student_layers + 1)]
