"""Every n-th teacher layer."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student

VERSION = 1


class Stride(Matching):
    """Layer i meets i * floor(teacher layers / student layers): `gap` of "KD of Transformer-based LMs Revisited".

    Where the one depth does not divide the other it never reaches the teacher's top: 12 -> 5 gives 2, 4, 6, 8, 10.
    `uniform` does, and is the same elsewhere.
    """

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("stride", student_layers, teacher_layers)
        stride = teacher_layers // student_layers
        return [(layer, layer * stride) for layer in range(1, student_layers + 1)]
