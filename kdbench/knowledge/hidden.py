"""Hidden states."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

VERSION = 1


class Hidden(Knowledge):
    """The output of a layer at every token, (B, S, D); layer 0 is the output of the embeddings.

    For post-norm encoders such as BERT a layer's output is normalised; a pre-norm model gives its residual stream,
    whose scale differs from layer to layer.

    Args:
        embeddings: also compare the embedding outputs, as the pair (0, 0) (Jiao et al. 2020, eq. 9).
    """

    def __init__(self, embeddings: bool = True) -> None:
        self.embeddings = embeddings

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(hidden=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return outputs.hidden[layer]

    def mask(self, outputs: ModelOutputs) -> Tensor:
        return outputs.mask[:, :, None]

    def pairs(self, pairs: Pairs) -> Pairs:
        return [(0, 0), *pairs] if self.embeddings and (0, 0) not in pairs else pairs

    def width(self, shape: Shape) -> int:
        return shape.width

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        if student.width != teacher.width and not projected:
            raise ImpossibleError(
                f"knowledge=hidden with projection=identity needs equal widths, but the student's is {student.width} "
                f"and the teacher's {teacher.width}: choose projection=to_teacher"
            )
