"""The outputs of feed-forward blocks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.knowledge.base import Knowledge, refuse_unequal_widths
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

VERSION = 1


class FeedForward(Knowledge):
    """What the second map of a layer's feed-forward block gives, every token (B, S, D), before residual and norm.

    The literal reading of the "outputs of the FFN" that KroneckerBERT compares (Tahaei et al. 2022, section 3.5); its
    natural one, after the norm, is knowledge=hidden.
    """

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(feed_forward=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return outputs.feed_forward[layer]

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return values, tokens[:, :, None]

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_unequal_widths("feed_forward", student, teacher, projected)
