"""How unequal widths meet."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Projection(nn.Module, ABC):
    """Maps the two sides of a pair to one width. Built with (student_width, teacher_width, pairs) and its own options.

    Its parameters train with the student's, are saved with a resumable checkpoint, and are no part of the student.
    """

    maps: bool = True
    """False where the sides pass through unchanged."""

    @abstractmethod
    def forward(self, student: Tensor, teacher: Tensor, pair: int) -> tuple[Tensor, Tensor]:
        """The two sides of the pair at that place of the term's list: (..., D_student), (..., D_teacher) -> equal."""
