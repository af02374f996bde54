"""The student's side is mapped to the teacher's width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdbench.projection.base import Projection
from kdbench.projection.layer_maps import Activation, LayerMaps

VERSION = 2


class ToTeacher(Projection):
    """A learned map of the student's side, (..., D_student) -> (..., D_teacher).

    Args:
        shared: one map for every layer, as Jiao et al. 2020 (section 3.1); otherwise a map a student layer, as the
            release of "KD of Transformer-based Language Models Revisited" has it (there: a map a match, which is the
            same where every student layer meets one teacher layer).
        bias: with a bias.
        activation: after the linear map; linear (none), relu or tanh, the kinds of that release.
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        student_layers: Sequence[int],
        teacher_layers: Sequence[int],
        shared: bool = False,
        bias: bool = True,
        activation: Activation = "linear",
    ) -> None:
        super().__init__()
        self.maps_of_layers = LayerMaps(student_width, teacher_width, student_layers, shared, bias, activation)

    def of_student(self, values: Tensor, layer: int) -> Tensor:
        mapped: Tensor = self.maps_of_layers(values, layer)
        return mapped

    def of_teacher(self, values: Tensor, layer: int) -> Tensor:
        return values
