"""Pairs written out by the user."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs

VERSION = 1


class Explicit(Matching):
    """The given pairs, student layer first: `matching=explicit matching.layers=[[1,2],[3,6]]`."""

    def __init__(self, layers: Sequence[Sequence[int]]) -> None:
        self.layers = [tuple(pair) for pair in layers]

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if not self.layers:
            raise ImpossibleError("matching.layers is empty: give pairs such as matching.layers=[[1,2],[3,6]]")
        found: Pairs = []
        for pair in self.layers:
            if len(pair) != 2 or not (0 <= pair[0] <= student_layers and 0 <= pair[1] <= teacher_layers):
                raise ImpossibleError(
                    f"matching.layers holds {list(pair)}, which is no pair of a student layer in 0..{student_layers} "
                    f"and a teacher layer in 0..{teacher_layers}: write it as [student, teacher]"
                )
            found.append((pair[0], pair[1]))
        return found
