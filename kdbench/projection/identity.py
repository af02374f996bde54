"""No projection."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdbench.projection.base import Projection

VERSION = 1


class Identity(Projection):
    """Both sides as they are; their widths must be equal where they are compared by element."""

    maps = False

    def __init__(
        self, student_width: int, teacher_width: int, student_layers: Sequence[int], teacher_layers: Sequence[int]
    ) -> None:
        super().__init__()

    def of_student(self, values: Tensor, layer: int) -> Tensor:
        return values

    def of_teacher(self, values: Tensor, layer: int) -> Tensor:
        return values
