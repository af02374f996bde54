"""Attention scores."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

VERSION = 1


class Attention(Knowledge):
    """The attention scores of every head, (B, H, S, S): scaled query-key products before softmax, mask and dropout.

    As Jiao et al. 2020 (eq. 7) compare them. Only pairs of two real tokens count. With a divergence as objective the
    softmax over the keys makes them probabilities; they are never handed out as probabilities, since a second softmax
    would flatten those.
    """

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(query=frozenset(layers), key=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        return outputs.query[layer] @ outputs.key[layer].transpose(-1, -2) * outputs.scaling[layer]

    def mask(self, outputs: ModelOutputs) -> Tensor:
        return outputs.mask[:, None, :, None] & outputs.mask[:, None, None, :]

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        if projected:
            raise ImpossibleError(
                "knowledge=attention compares maps of tokens, which no projection of widths can join: "
                "choose projection=identity"
            )
        if student.heads != teacher.heads:
            raise ImpossibleError(
                f"knowledge=attention needs equal numbers of heads, but the student has {student.heads} and the "
                f"teacher {teacher.heads}: set student.heads={teacher.heads} where that divides the width, or choose "
                "another knowledge"
            )
