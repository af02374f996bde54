"""The teacher's embeddings, head and some of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from kdbench.error import ImpossibleError
from kdbench.initialization.base import Initialization
from kdbench.matching.base import Matching, Pairs
from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.store import Store
from kdbench.student.compressed import Compressed, of_kept_words
from kdbench.value import choice

if TYPE_CHECKING:
    from kdbench.encoder.base import Encoder

VERSION = 1

Width = Literal["equal", "slice"]


class TeacherLayers(Initialization):
    """Copies embeddings, pooler, classifier and the matched layers of the fine-tuned teacher (truncation).

    With as many layers as the teacher the student starts as its copy.

    Args:
        matching: which teacher layer each student layer starts as; every student layer must be paired.
        width: `equal` refuses a narrower student. `slice` gives it the first rows and columns of every matrix, which
            cuts attention heads whole: the student's must be as wide as the teacher's, and are its first. Worth little:
            what a width was trained to is not in a part of it, and the logs of GLMKD show it no better than random.
    """

    needs_teacher = True

    def __init__(self, matching: Matching, width: Width = "equal") -> None:
        choice("initialization.width", width, ("equal", "slice"))
        self.matching, self.width = matching, width
        self.name = f"teacher_{type(matching).__name__.lower()}"

    def check(self, student: Shape, teacher: Shape) -> None:
        for role, shape in (("student", student), ("teacher", teacher)):
            if shape.factored:
                raise ImpossibleError(
                    f"initialization={self.name} copies layers, but those of the {role} are factored: choose "
                    "initialization=nearest_kronecker or initialization=random"
                )
            if not shape.apart:
                raise ImpossibleError(
                    f"initialization={self.name} copies layers, but those of the {role} share their weights: choose "
                    "initialization=random, or of a factored student initialization@initialization.dense=pretrained"
                )
        if student.layers > teacher.layers:
            raise ImpossibleError(
                f"initialization={self.name} copies teacher layers, but the student has {student.layers} and the "
                f"teacher only {teacher.layers}: choose initialization=random or a student/size of at most "
                f"{teacher.layers} layers"
            )
        if self.width == "slice":
            self._check_slice(student, teacher)
        elif (student.width, student.heads) != (teacher.width, teacher.heads):
            raise ImpossibleError(
                f"initialization={self.name} needs the teacher's width and heads ({teacher.width} and "
                f"{teacher.heads}), but the student has {student.width} and {student.heads}: choose "
                f"initialization=random or a student/size of width {teacher.width}"
            )
        paired = [ours for ours, _ in self.matching.pairs(student.layers, teacher.layers)]
        if sorted(paired) != list(range(1, student.layers + 1)):
            raise ImpossibleError(
                f"initialization={self.name} must give each of the student's {student.layers} layers one teacher "
                f"layer, but its pairs name the student layers {paired}: choose initialization=teacher_list, or a "
                "matching that names each once"
            )

    def _check_slice(self, student: Shape, teacher: Shape) -> None:
        if student.width > teacher.width:
            raise ImpossibleError(
                f"initialization.width=slice cuts a narrower student out of the teacher, but the student's width is "
                f"{student.width} and the teacher's {teacher.width}: choose initialization=random or a student/size "
                f"of at most width {teacher.width}"
            )
        ours, theirs = student.width // student.heads, teacher.width // teacher.heads
        if ours != theirs:
            whole = student.width % theirs == 0
            raise ImpossibleError(
                f"initialization.width=slice cuts whole heads, but the student's are {ours} wide ({student.heads} of "
                f"width {student.width}) and the teacher's {theirs}: "
                f"{f'set student.heads={student.width // theirs}, or ' if whole else ''}choose initialization=random"
            )

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        from kdbench.encoder.base import Encoder

        ours = student.bare
        if not isinstance(ours, Encoder) or not isinstance(teacher, Encoder):
            raise ImpossibleError(
                f"initialization={self.name} copies transformer layers, which this pair of architectures does not "
                "have: choose initialization=random"
            )
        try:
            _refuse_other_rows(student, ours, teacher)
            self._copy(ours.embeddings, of_kept_words(student, teacher.embeddings.state_dict()))
            below = teacher.between
            for name, part in ours.between.items():
                self._copy(part, below[name].state_dict())
            for layer, of_teacher in self.matching.pairs(len(ours.layers), len(teacher.layers)):
                self._copy(ours.layers[layer - 1], teacher.layers[of_teacher - 1].state_dict())
            theirs_by_name = teacher.heads
            for name, part in ours.heads.items():
                self._copy(part, of_kept_words(student, theirs_by_name[name].state_dict()))
        except (RuntimeError, KeyError) as error:
            raise ImpossibleError(
                f"initialization={self.name} does not fit: the student's parts have other shapes than the teacher's "
                f"({_MUST[self.width]}): choose initialization=random"
            ) from error

    def _copy(self, student: nn.Module, theirs: dict[str, Tensor]) -> None:
        if self.width == "slice":
            ours = student.state_dict()
            theirs = {name: _first_of(values, ours[name]) for name, values in theirs.items()}
        student.load_state_dict(theirs)


_MUST = {
    "equal": "student.intermediate, student.max_positions and the vocabulary must be equal",
    "slice": "student.intermediate and student.max_positions must be no larger, and the vocabulary equal",
}


def _refuse_other_rows(student: Model, bare: Encoder, teacher: Encoder) -> None:
    """Words and classes are no width: a table of them is never cut."""
    words = [model.model.get_input_embeddings().num_embeddings for model in (bare, teacher)]
    words[0] = len(student.rows) if isinstance(student, Compressed) else words[0]
    if words[0] != words[1] or student.shape.classes != teacher.shape.classes:
        raise RuntimeError(f"{words} words, {student.shape.classes} and {teacher.shape.classes} classes")


def _first_of(theirs: Tensor, ours: Tensor) -> Tensor:
    """The first rows and columns of a tensor, as many as the other has; one that has fewer is left for the refusal."""
    return theirs[tuple(slice(size) for size in ours.shape)] if theirs.dim() == ours.dim() else theirs


def teacher_list(layers: Sequence[int], width: Width = "equal") -> TeacherLayers:
    """Copies embeddings, pooler, classifier and the listed layers of the fine-tuned teacher, in the student's order.

    Args:
        layers: a teacher layer for each student layer, bottom first, counted from 1: `[3,6,9,12]`. One may recur.
        width: see `TeacherLayers`.
    """
    return TeacherLayers(List(layers), width)


class List(Matching):
    """A teacher layer for each student layer, written out."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = layers

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        listed = self.layers if isinstance(self.layers, Sequence) and not isinstance(self.layers, str) else ()
        if len(listed) != student_layers:
            raise ImpossibleError(
                f"initialization.layers={self.layers} must name one teacher layer for each of the student's "
                f"{student_layers}: write it as initialization.layers=[...] with {student_layers} numbers"
            )
        for layer in listed:
            if not isinstance(layer, int) or isinstance(layer, bool) or not 1 <= layer <= teacher_layers:
                raise ImpossibleError(
                    f"initialization.layers holds {layer}, which is no layer of the teacher: give numbers from 1 to "
                    f"{teacher_layers}"
                )
        return list(enumerate(listed, start=1))
