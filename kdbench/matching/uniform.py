"""Layers spread evenly over the teacher's depth."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student

VERSION = 1


class Uniform(Matching):
    """The teacher's layers in as many near-equal groups as the student has layers, each of which meets a group's end.

    Layer i meets floor(i * teacher layers / student layers), so the last layers always meet, also where the one depth
    does not divide the other (Jiao et al. 2020 where it does). The stride form floor(teacher / student) * i, which
    never reaches the top of such a teacher, is another matching.
    """

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("uniform", student_layers, teacher_layers)
        return [(layer, layer * teacher_layers // student_layers) for layer in range(1, student_layers + 1)]
