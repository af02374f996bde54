"""A student layer meets a whole block of teacher layers."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from kdbench.matching.base import Matching, Pairs, refuse_deeper_student
from kdbench.matching.pairing import Pairing, Reduction, WeightedPairing

VERSION = 1


class Block(Matching):
    """The teacher's layers in as many consecutive blocks as the student has layers; layer i meets all of block i.

    A block ends where `uniform` has its layer. The distances within a block are averaged, so that a large block counts
    no more than a small one.
    """

    fixed = False

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("block", student_layers, teacher_layers)
        ends = [layer * teacher_layers // student_layers for layer in range(student_layers + 1)]
        return [
            (layer, theirs)
            for layer in range(1, student_layers + 1)
            for theirs in range(ends[layer - 1] + 1, ends[layer] + 1)
        ]

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        return BlockPairing(pairs, reduction)


class BlockPairing(WeightedPairing):
    """The mean over each student layer's pairs."""

    def __init__(self, pairs: Pairs, reduction: Reduction = "sum") -> None:
        super().__init__(pairs, reduction)
        sizes = Counter(ours for ours, _ in pairs)
        self.shares = [1.0 / sizes[pairs[place][0]] for place in self.places]

    def weights(self, distances: Tensor) -> Tensor:
        return torch.tensor(self.shares, dtype=distances.dtype, device=distances.device)
