"""How unequal widths meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Projection(nn.Module, ABC):
    """Maps the two sides of a pair to one width.

    Built with (student_width, teacher_width, student_layers, teacher_layers) and its own options, where the layers are
    those that it will be asked for, each once and in order. Its parameters train with the student's, are saved with a
    resumable checkpoint, and are no part of the student.
    """

    maps: ClassVar[bool] = True
    """False where the sides pass through unchanged."""

    @abstractmethod
    def of_student(self, values: Tensor, layer: int) -> Tensor:
        """The student's side at one of its layers: (..., D_student) -> (..., D)."""

    @abstractmethod
    def of_teacher(self, values: Tensor, layer: int) -> Tensor:
        """The teacher's side at one of its layers: (..., D_teacher) -> (..., D)."""
