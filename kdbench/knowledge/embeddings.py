"""The embedding outputs."""

from __future__ import annotations

from torch import Tensor

from kdbench.knowledge.base import refuse_unequal_widths
from kdbench.knowledge.states import States
from kdbench.knowledge.view import SPAN_LENGTH
from kdbench.matching.base import Pairs
from kdbench.shape import Shape

VERSION = 1


class Embeddings(States):
    """What enters the first layer, every token (B, S, D), and nothing else (Jiao et al. 2020, eq. 9).

    Whatever the matching pairs, the embeddings meet each other: layer 0 and layer 0.
    """

    def __init__(self) -> None:
        super().__init__(True, "tokens", SPAN_LENGTH)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return values, tokens[:, :, None]

    def pairs(self, pairs: Pairs) -> Pairs:
        return [(0, 0)]

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("embeddings", student, teacher, projected)
