"""The uniform pairs the wrong way round."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student
from kdbench.matching.uniform import Uniform

VERSION = 1


class Reverse(Matching):
    """The teacher layers of `uniform` in reversed order: the student's first layer meets the teacher's last.

    A control: arXiv 2502.04499 finds that the choice of layers matters so little that even this works.
    """

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("reverse", student_layers, teacher_layers)
        uniform = Uniform().pairs(student_layers, teacher_layers)
        met = [theirs for _, theirs in reversed(uniform)]
        return [(layer, theirs) for (layer, _), theirs in zip(uniform, met, strict=True)]
