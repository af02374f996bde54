"""One pair of layers."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs

VERSION = 1


class Single(Matching):
    """One student layer meets one teacher layer; the last of each unless told otherwise (MiniLM, Wang et al. 2020).

    Args:
        student, teacher: counted from 1, or from the end as -1 (the last), -2, ...; 0 is the embedding output.
    """

    def __init__(self, student: int = -1, teacher: int = -1) -> None:
        self.student, self.teacher = student, teacher

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        return [(_place("student", self.student, student_layers), _place("teacher", self.teacher, teacher_layers))]


def _place(role: str, layer: object, layers: int) -> int:
    if not isinstance(layer, int) or isinstance(layer, bool) or not -layers <= layer <= layers:
        raise ImpossibleError(
            f"matching.{role}={layer} is no layer of the {role}, which has {layers}: give a whole number from "
            f"{-layers} (counted from the end) to {layers}"
        )
    return layer if layer >= 0 else layers + 1 + layer
