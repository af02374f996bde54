"""Both sides are mapped to a width of their own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdbench.projection.base import Projection
from kdbench.projection.layer_maps import Activation, LayerMaps

VERSION = 1


class ToCommon(Projection):
    """Learned maps of both sides, (..., D_student) and (..., D_teacher) -> (..., width) (Haidar et al. 2022, RAIL-KD).

    Two maps that send everything to one constant agree perfectly, so it belongs beside a term that fixes what is
    learned (labels, logits).

    Args:
        width: the common width.
        shared: one map a side for every layer; otherwise a map a layer.
        bias: with a bias.
        activation: after the linear maps; linear (none), relu or tanh.
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        student_layers: Sequence[int],
        teacher_layers: Sequence[int],
        width: int = 128,
        shared: bool = False,
        bias: bool = True,
        activation: Activation = "linear",
    ) -> None:
        super().__init__()
        self.maps_of_student = LayerMaps(student_width, width, student_layers, shared, bias, activation)
        self.maps_of_teacher = LayerMaps(teacher_width, width, teacher_layers, shared, bias, activation)

    def of_student(self, values: Tensor, layer: int) -> Tensor:
        mapped: Tensor = self.maps_of_student(values, layer)
        return mapped

    def of_teacher(self, values: Tensor, layer: int) -> Tensor:
        mapped: Tensor = self.maps_of_teacher(values, layer)
        return mapped
