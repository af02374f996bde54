"""How the pairs of a matching become one loss a sample: the part of a matching that lives in the training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from kdbench.progress import Progress

Pairs = list[tuple[int, int]]
Reduction = Literal["sum", "mean"]


class Sides(Protocol):
    """The two sides of a term in one step, read and projected once a layer, on demand."""

    def student(self, layer: int) -> Tensor:
        """What the student's layer shows, (B, ...), already projected."""

    def teacher(self, layer: int) -> Tensor:
        """What the teacher's layer shows, (B, ...), already projected; without a graph unless a projection learns."""

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The objective between two tensors of that kind, (B,)."""


class Pairing(nn.Module):
    """Every pair counts alike, at every step: the customary case.

    A subclass may draw among the pairs (`drawn`), weigh their distances (`reduce`), or mix teacher layers into new
    targets (`forward`). Its parameters train with the student's and are no part of it.

    Args:
        pairs: every (student layer, teacher layer) that may ever meet.
        reduction: over pairs: `sum` as in TinyBERT and the unified framework (every match has weight 1), or `mean`.
    """

    def __init__(self, pairs: Pairs, reduction: Reduction = "sum") -> None:
        super().__init__()
        self.pairs, self.reduction = pairs, reduction

    def drawn(self, progress: Progress) -> Pairs:
        """The pairs that meet at this step."""
        return self.pairs

    def reduce(self, distances: Tensor) -> Tensor:
        """One loss a sample from the distances of the drawn pairs: (P, B) -> (B,)."""
        return distances.sum(dim=0) if self.reduction == "sum" else distances.mean(dim=0)

    def forward(self, sides: Sides, progress: Progress) -> Tensor:
        """The loss of each sample, (B,)."""
        distances = [
            sides.distance(sides.student(ours), sides.teacher(theirs)) for ours, theirs in self.drawn(progress)
        ]
        return distances[0] if len(distances) == 1 else self.reduce(torch.stack(distances))


class WeightedPairing(Pairing, ABC):
    """Each student layer meets several teacher layers at once, by weights that sum to one over them.

    So every student layer counts as it does where it meets one teacher layer: once in a `sum`, equally in a `mean`.
    The pair of the embedding outputs stays apart, with the weight 1.
    """

    def __init__(self, pairs: Pairs, reduction: Reduction = "sum") -> None:
        super().__init__(pairs, reduction)
        self.places = [place for place, (ours, _) in enumerate(pairs) if ours > 0]
        self.apart = [place for place, (ours, _) in enumerate(pairs) if ours == 0]
        self.layers = len({pairs[place][0] for place in self.places})

    @abstractmethod
    def weights(self, distances: Tensor) -> Tensor:
        """The weight of each pair but the embeddings', (P,), from their distances (P, B)."""

    def reduce(self, distances: Tensor) -> Tensor:
        met = distances[self.places]
        total = (self.weights(met).to(met)[:, None] * met).sum(dim=0) + distances[self.apart].sum(dim=0)
        return total if self.reduction == "sum" else total / (self.layers + len(self.apart))
