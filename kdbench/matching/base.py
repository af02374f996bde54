"""Which student layer meets which teacher layer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kdbench.error import ImpossibleError

Pairs = list[tuple[int, int]]


class Matching(ABC):
    """Pairs of (student layer, teacher layer), counted from 1; 0 is the embedding output, of hidden states only."""

    @abstractmethod
    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        """The pairs for a student and a teacher of that depth, in the order of the student's layers.

        Raises:
            ImpossibleError: where the two depths leave no such pairing.
        """


def refuse_deeper_student(matching: str, student_layers: int, teacher_layers: int) -> None:
    """The refusal of every matching that gives each student layer a teacher layer of its own."""
    if student_layers > teacher_layers:
        raise ImpossibleError(
            f"matching={matching} needs at most as many student as teacher layers, but the student has "
            f"{student_layers} and the teacher {teacher_layers}: choose a student/size of at most "
            f"{teacher_layers} layers"
        )
