"""The gold labels."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.knowledge.base import Knowledge
from kdbench.outputs import ModelOutputs, Taps

VERSION = 1


class Label(Knowledge):
    """The student's logits (B, C) against the batch's labels (B,): learning without a teacher.

    Of a task of spans (B, 2, S) against the first and last token, (B, 2).
    """

    layered = False
    from_labels = True
    kind = "classes"

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(logits=True)

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        assert outputs.logits is not None
        return outputs.logits

    def target(self, outputs: ModelOutputs, layer: int) -> Tensor:
        assert outputs.labels is not None
        return outputs.labels
