"""Layers spread evenly over the teacher's depth."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs, refuse_deeper_student
from kdbench.value import switch

VERSION = 1


class Uniform(Matching):
    """The teacher's layers in as many near-equal groups as the student has layers, each of which meets a group's end.

    Layer i meets floor(i * teacher layers / student layers), so the last layers always meet, also where the one depth
    does not divide the other (Jiao et al. 2020 where it does). The form that never reaches the top of such a teacher
    is `stride`.

    Args:
        include_last: also pair the two last layers; False is PKD-Skip (Sun et al. 2019, section 3.2), where those are
            left to the logits.
    """

    def __init__(self, include_last: bool = True) -> None:
        switch("matching.include_last", include_last)
        self.include_last = include_last

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("uniform", student_layers, teacher_layers)
        if student_layers == 1 and not self.include_last:
            raise ImpossibleError(
                "matching.include_last=false leaves a student of one layer nothing to match: set "
                "matching.include_last=true or choose a deeper student/size"
            )
        highest = student_layers if self.include_last else student_layers - 1
        return [(layer, layer * teacher_layers // student_layers) for layer in range(1, highest + 1)]
