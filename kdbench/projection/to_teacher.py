"""The student's side is mapped to the teacher's width."""

from __future__ import annotations

from torch import Tensor, nn

from kdbench.projection.base import Projection

VERSION = 1


class ToTeacher(Projection):
    """A learned linear map of the student's side, (..., D_student) -> (..., D_teacher).

    Args:
        shared: one map for every pair, as Jiao et al. 2020 (section 3.1); otherwise a map a pair, as the release of
            "KD of Transformer-based Language Models Revisited" has it.
        bias: with a bias.
    """

    def __init__(
        self, student_width: int, teacher_width: int, pairs: int, shared: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        count = 1 if shared else pairs
        self.maps_of_pairs = nn.ModuleList(nn.Linear(student_width, teacher_width, bias) for _ in range(count))
        for linear in self.maps_of_pairs:
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=0.02)
            if bias:
                nn.init.zeros_(linear.bias)

    def forward(self, student: Tensor, teacher: Tensor, pair: int) -> tuple[Tensor, Tensor]:
        return self.maps_of_pairs[pair if len(self.maps_of_pairs) > 1 else 0](student), teacher
