"""The task's logits."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.knowledge.base import Knowledge
from kdbench.outputs import ModelOutputs, Taps

VERSION = 1


class Logits(Knowledge):
    """The outputs of the task head, (B, C), before softmax: the soft labels of Hinton et al. 2015."""

    layered = False

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(logits=True)

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        assert outputs.logits is not None
        return outputs.logits
