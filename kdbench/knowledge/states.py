"""What every knowledge of hidden states shares."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.knowledge.base import Knowledge, with_embeddings
from kdbench.knowledge.view import View, see, view_taps
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import switch, whole


class States(Knowledge):
    """A knowledge of the outputs of layers, seen through a view; layer 0 is the output of the embeddings.

    Args:
        embeddings: also compare the embedding outputs, as the pair (0, 0).
        view: what is seen of a layer's tokens, as `kdbench.knowledge.view` says.
        span_length: tokens a span.
    """

    def __init__(self, embeddings: bool, view: View, span_length: int) -> None:
        switch("knowledge.embeddings", embeddings)
        whole("knowledge.span_length", span_length)
        self.embeddings, self.view, self.span_length = embeddings, view, span_length

    def taps(self, layers: Iterable[int]) -> Taps:
        return view_taps(self.view, layers)

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return see(self.view, outputs, layer, self.span_length)

    def pairs(self, pairs: Pairs) -> Pairs:
        return with_embeddings(pairs) if self.embeddings else pairs

    def width(self, shape: Shape, layers: int) -> int:
        return shape.width
