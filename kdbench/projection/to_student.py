"""The teacher's side is mapped to the student's width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdbench.projection.base import Projection
from kdbench.projection.layer_maps import Activation, LayerMaps

VERSION = 1


class ToStudent(Projection):
    """A learned map of the teacher's side, (..., D_teacher) -> (..., D_student) (Wu et al. 2021, MT-BERT).

    The target moves with the map: a student that shows one constant, and a map to it, would agree perfectly, so it
    belongs beside a term that fixes what is learned (labels, logits).

    Args:
        shared: one map for every layer; otherwise a map a teacher layer.
        bias: with a bias.
        activation: after the linear map; linear (none), relu or tanh.
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
        self.maps_of_layers = LayerMaps(teacher_width, student_width, teacher_layers, shared, bias, activation)

    def of_student(self, values: Tensor, layer: int) -> Tensor:
        return values

    def of_teacher(self, values: Tensor, layer: int) -> Tensor:
        mapped: Tensor = self.maps_of_layers(values, layer)
        return mapped
