"""The teacher's embeddings, head and some of its layers."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.initialization.base import Initialization
from kdbench.matching.base import Matching
from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.store import Store

VERSION = 1


class TeacherLayers(Initialization):
    """Copies embeddings, pooler, classifier and the matched layers of the fine-tuned teacher (truncation).

    With as many layers as the teacher the student starts as its copy. Widths and heads must be equal: slicing a wider
    teacher is worth no more than random weights (the logs of GLMKD), so it is not done silently.

    Args:
        matching: which teacher layer each student layer starts as; every student layer must be paired.
    """

    needs_teacher = True

    def __init__(self, matching: Matching) -> None:
        self.matching = matching
        self.name = f"teacher_{type(matching).__name__.lower()}"

    def check(self, student: Shape, teacher: Shape) -> None:
        if student.layers > teacher.layers:
            raise ImpossibleError(
                f"initialization={self.name} copies teacher layers, but the student has {student.layers} and the "
                f"teacher only {teacher.layers}: choose initialization=random or a student/size of at most "
                f"{teacher.layers} layers"
            )
        if (student.width, student.heads) != (teacher.width, teacher.heads):
            raise ImpossibleError(
                f"initialization={self.name} needs the teacher's width and heads ({teacher.width} and "
                f"{teacher.heads}), but the student has {student.width} and {student.heads}: choose "
                f"initialization=random or a student/size of width {teacher.width}"
            )
        paired = [ours for ours, _ in self.matching.pairs(student.layers, teacher.layers)]
        if sorted(paired) != list(range(1, student.layers + 1)):
            raise ImpossibleError(
                f"initialization={self.name} must give each of the student's {student.layers} layers one teacher "
                f"layer, but its pairs name the student layers {paired}: write "
                "initialization.matching.layers accordingly"
            )

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        from kdbench.encoder import Encoder

        if not isinstance(student, Encoder) or not isinstance(teacher, Encoder):
            raise ImpossibleError(
                f"initialization={self.name} copies transformer layers, which this pair of architectures does not "
                "have: choose initialization=random"
            )
        try:
            student.embeddings.load_state_dict(teacher.embeddings.state_dict())
            for ours, theirs in self.matching.pairs(len(student.layers), len(teacher.layers)):
                student.layers[ours - 1].load_state_dict(teacher.layers[theirs - 1].state_dict())
            theirs_by_name = teacher.heads
            for name, part in student.heads.items():
                part.load_state_dict(theirs_by_name[name].state_dict())
        except (RuntimeError, KeyError) as error:
            raise ImpossibleError(
                f"initialization={self.name} does not fit: the student's parts have other shapes than the teacher's "
                "(student.intermediate, student.max_positions and the vocabulary must be equal): choose "
                "initialization=random"
            ) from error
