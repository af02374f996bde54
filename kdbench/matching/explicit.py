"""Pairs written out by the user."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs

VERSION = 1


class Explicit(Matching):
    """The given pairs, student layer first: `matching=explicit matching.layers=[[1,2],[3,6]]`."""

    def __init__(self, layers: Sequence[Sequence[int]]) -> None:
        self.layers = layers

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        if not isinstance(self.layers, Sequence) or isinstance(self.layers, str) or not self.layers:
            raise ImpossibleError(
                f"matching.layers={self.layers} names no pairs: write them as matching.layers=[[1,2],[3,6]]"
            )
        found: Pairs = []
        for pair in self.layers:
            if not _is_pair(pair, student_layers, teacher_layers):
                raise ImpossibleError(
                    f"matching.layers holds {pair}, which is no pair of a student layer in 0..{student_layers} "
                    f"and a teacher layer in 0..{teacher_layers}: write it as [student, teacher]"
                )
            if (pair[0], pair[1]) in found:
                raise ImpossibleError(f"matching.layers holds {pair} twice, which would count it twice: write it once")
            found.append((pair[0], pair[1]))
        return found


def _is_pair(pair: object, student_layers: int, teacher_layers: int) -> bool:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        return False
    whole = all(isinstance(layer, int) and not isinstance(layer, bool) for layer in pair)
    return whole and 0 <= pair[0] <= student_layers and 0 <= pair[1] <= teacher_layers
