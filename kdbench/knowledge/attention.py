"""Attention maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge, refuse_projection
from kdbench.masking import log_softmax
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import choice, number

VERSION = 1


class Attention(Knowledge):
    """The attention maps, (B, H, S, S) or (B, S, S): scaled query-key products before dropout.

    As Jiao et al. 2020 (eq. 7) compare the scores. Only pairs of two real tokens count. With a divergence as objective
    the softmax over the keys makes scores probabilities; probabilities themselves go with no divergence, since a second
    softmax would flatten them (which happens in the release of "KD of Transformer-based Language Models Revisited").

    Args:
        space: `scores` before softmax, or `probabilities` after it (over the real keys).
        heads: `equal` compares head by head; `sum` and `mean` over heads compare one map, so that the two sides need
            not have equally many. Their order plays no part then, and unequal maps may have equal sums.
        floor: compat, None for the paper's mathematics: entries of at most this become 0 on both sides. TinyBERT's
            release has -1e2, for masked places; TextBrewer and OFA-Compress have -1e-3, which erases every
            negative score (a defect) and does nothing to probabilities.
    """

    def __init__(
        self,
        space: Literal["scores", "probabilities"] = "scores",
        heads: Literal["equal", "sum", "mean"] = "equal",
        floor: float | None = None,
    ) -> None:
        choice("knowledge.space", space, ("scores", "probabilities"))
        choice("knowledge.heads", heads, ("equal", "sum", "mean"))
        number("knowledge.floor", floor, null="none")
        self.space, self.heads, self.floor = space, heads, floor
        self.kind = "tensors" if space == "scores" else "probabilities"

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(scores=frozenset(layers))

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        maps = outputs.scores[layer]
        if self.space == "probabilities":
            maps = log_softmax(maps, outputs.mask[:, None, None, :]).exp()
        if self.floor is not None:
            maps = torch.where(maps <= self.floor, 0.0, maps)
        if self.heads == "equal":
            return maps
        return maps.sum(dim=1) if self.heads == "sum" else maps.mean(dim=1)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mask = tokens[:, :, None] & tokens[:, None, :]
        return values, mask[:, None] if self.heads == "equal" else mask

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        refuse_projection("attention", projected)
        if self.heads == "equal" and student.heads != teacher.heads:
            raise ImpossibleError(
                f"knowledge=attention needs equal numbers of heads, but the student has {student.heads} and the "
                f"teacher {teacher.heads}: set student.heads={teacher.heads} where that divides the width, or choose "
                "knowledge=attention_sum or knowledge=attention_mean, which compare one map of all heads"
            )
