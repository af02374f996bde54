"""Which student layer meets which teacher layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from kdbench.error import ImpossibleError
from kdbench.matching.pairing import Pairing, Pairs, Reduction
from kdbench.value import whole

__all__ = ["Matching", "Pairs", "grid", "refuse_count", "refuse_deeper_student", "refuse_unmixable"]


class Matching(ABC):
    """Pairs of (student layer, teacher layer), counted from 1; 0 is the embedding output, of hidden states only."""

    fixed: ClassVar[bool] = True
    """Each pair meets as it is, alone; False where a matching weighs pairs or mixes layers by their distances."""

    mixes: ClassVar[bool] = False
    """Layers are mixed by products of their vectors: what is read of a layer must be one vector, (B, D), or one a
    place, (B, S, D), and of one width on both sides. Attention maps are neither."""

    @abstractmethod
    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        """Every pair that may meet, for a student and a teacher of that depth, in the order of the student's layers.

        Raises:
            ImpossibleError: where the two depths leave no such pairing.
        """

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        """What makes one loss of the pairs; `seed` is for one that draws."""
        return Pairing(pairs, reduction)


def refuse_deeper_student(matching: str, student_layers: int, teacher_layers: int) -> None:
    """The refusal of every matching that gives each student layer a teacher layer of its own."""
    if student_layers > teacher_layers:
        raise ImpossibleError(
            f"matching={matching} needs at most as many student as teacher layers, but the student has "
            f"{student_layers} and the teacher {teacher_layers}: choose a student/size of at most "
            f"{teacher_layers} layers"
        )


def refuse_count(count: int | None, student_layers: int, teacher_layers: int) -> None:
    """The refusal of every matching of `count` layers that one of the two models does not have."""
    whole("matching.count", count, null="every layer of the student")
    if count is not None and count > min(student_layers, teacher_layers):
        raise ImpossibleError(
            f"matching.count={count} is more than there are layers (student {student_layers}, teacher "
            f"{teacher_layers}): set matching.count={min(student_layers, teacher_layers)} or less"
        )


def refuse_unmixable(key: str, student_width: int | None, teacher_width: int | None, projected: bool) -> None:
    """The refusal of every matching that mixes (`mixes`) where a layer shows no vectors of one width.

    Args:
        key: the term's place in the configuration.
        student_width, teacher_width: of what the knowledge reads, before a projection; None where it has none.
        projected: whether a projection makes the widths equal.
    """
    if student_width is None or teacher_width is None:
        raise ImpossibleError(
            f"{key}.matching mixes vectors, but its knowledge reads what has no width, such as attention maps: choose "
            "matching=uniform, or knowledge=hidden"
        )
    if student_width != teacher_width and not projected:
        raise ImpossibleError(
            f"{key}.matching mixes vectors of one width, but the student's is {student_width} and the teacher's "
            f"{teacher_width}: choose projection=to_teacher"
        )


def grid(student_layers: int, teacher_layers: int) -> Pairs:
    """Every student layer with every teacher layer, in the order of the student's."""
    teachers = range(1, teacher_layers + 1)
    return [(ours, theirs) for ours in range(1, student_layers + 1) for theirs in teachers]
