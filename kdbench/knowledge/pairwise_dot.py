"""Dot products between points."""

from __future__ import annotations

import math

from torch import Tensor

from kdbench.knowledge.point_relation import PointRelation

VERSION = 1


class PairwiseDot(PointRelation):
    """Dot products between the hidden states of points, over the root of the width, (B, G, N, N), themselves included.

    With heads the pairwise interactions of Liu et al. 2022 (MGSKD). Blind to a rotation of all states.
    """

    name = "pairwise_dot"
    least_layers = 1

    def relation(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        products = points @ points.transpose(-1, -2) / math.sqrt(points.shape[-1])
        return products, mask[:, :, :, None] & mask[:, :, None]
