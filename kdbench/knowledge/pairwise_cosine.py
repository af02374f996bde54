"""Cosines between points."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.knowledge.geometry import NO_DIRECTION
from kdbench.knowledge.point_relation import PointRelation
from kdbench.masking import unit

VERSION = 1


class PairwiseCosine(PointRelation):
    """The cosine between the hidden states of every two different points, (B, G, N, N) (Park et al. 2021, CKD).

    With a divergence, the distribution of a point's likeness over the others; the point itself is left out. Blind to a
    rotation of all states and to the length of each.
    """

    name = "pairwise_cosine"

    def relation(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        units = unit(points, least=NO_DIRECTION)
        others = ~torch.eye(points.shape[2], dtype=torch.bool, device=points.device)
        return units @ units.transpose(-1, -2), mask[:, :, :, None] & mask[:, :, None] & others
