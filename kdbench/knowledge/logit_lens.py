"""What the task head says of a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor

from kdbench.knowledge.base import Knowledge, refuse_projection
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 1


class LogitLens(Knowledge):
    """The model's own task head, pooler included, on the output of a layer, (B, C): its answer if it ended there.

    The head learns from it too. It contains dropout, which acts on the student's side in training as it does on its
    logits.

    Args:
        target: `lens` compares with the same reading of the matched teacher layer, `final` every matched student layer
            with the teacher's logits.
    """

    kind = "logits"

    def __init__(self, target: Literal["lens", "final"] = "lens") -> None:
        choice("knowledge.target", target, ("lens", "final"))
        self.final = target == "final"

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(lens=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return outputs.lens[layer]

    def target_taps(self, layers: Iterable[int]) -> Taps:
        return Taps(logits=True) if self.final else self.taps(layers)

    def target(self, outputs: ModelOutputs, layer: int) -> Tensor:
        if not self.final:
            return self.extract(outputs, layer)
        assert outputs.logits is not None
        return outputs.logits

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_projection("logit_lens", projected)
