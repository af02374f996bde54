"""The task's logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import switch

VERSION = 1


class Logits(Knowledge):
    """The outputs of the task head, (B, C), before softmax: the soft labels of Hinton et al. 2015.

    Of a task of spans (B, 2, S), two distributions over the tokens of a row.

    Args:
        probability_shift: where the teacher's top class is not the gold one, the two classes swap their logits, so
            that its soft labels never contradict the gold ones (as TextBrewer and OFA-Compress offer it). A row
            without a label keeps its logits.
    """

    layered = False
    kind = "logits"

    def __init__(self, probability_shift: bool = False) -> None:
        switch("knowledge.probability_shift", probability_shift)
        self.probability_shift = probability_shift

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(logits=True)

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        assert outputs.logits is not None
        return outputs.logits

    def target(self, outputs: ModelOutputs, layer: int) -> Tensor:
        logits = self.extract(outputs, layer)
        if not self.probability_shift:
            return logits
        assert outputs.labels is not None
        return shifted(logits, outputs.labels)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        return values, tokens[:, None] if values.dim() == 3 else None

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        if self.probability_shift and student.spans:
            raise ImpossibleError(
                "knowledge.probability_shift=true swaps the logits of two classes, but a span has none: set "
                "knowledge.probability_shift=false"
            )
        if self.probability_shift and student.classes == 1:
            raise ImpossibleError(
                "knowledge.probability_shift=true swaps the logits of two classes, but a regression has none: set "
                "knowledge.probability_shift=false"
            )


def shifted(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (B, C) with that of the top class and that of the gold class, (B,), swapped; -1: no gold class."""
    top = logits.argmax(dim=-1, keepdim=True)
    gold = torch.where(labels[:, None] < 0, top, labels[:, None])
    swapped = logits.scatter(-1, top, logits.gather(-1, gold))
    return swapped.scatter(-1, gold, logits.gather(-1, top))
