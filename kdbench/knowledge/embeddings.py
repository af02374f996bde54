"""The embedding outputs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.knowledge.base import Knowledge, refuse_unequal_widths
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

VERSION = 1


class Embeddings(Knowledge):
    """What enters the first layer, every token (B, S, D), and nothing else (Jiao et al. 2020, eq. 9).

    Whatever the matching pairs, the embeddings meet each other: layer 0 and layer 0.
    """

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(hidden=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return outputs.hidden[layer]

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return values, tokens[:, :, None]

    def pairs(self, pairs: Pairs) -> Pairs:
        return [(0, 0)]

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("embeddings", student, teacher, projected)
