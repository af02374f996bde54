"""No projection."""

from __future__ import annotations

from torch import Tensor

from kdbench.projection.base import Projection

VERSION = 1


class Identity(Projection):
    """Both sides as they are; their widths must be equal."""

    maps = False

    def __init__(self, student_width: int, teacher_width: int, pairs: int) -> None:
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor, pair: int) -> tuple[Tensor, Tensor]:
        return student, teacher
