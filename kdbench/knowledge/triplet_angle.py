"""Angles between three points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.knowledge.geometry import NO_DIRECTION, neighbours
from kdbench.knowledge.point_relation import Over, PointRelation
from kdbench.knowledge.view import SPAN_LENGTH
from kdbench.masking import unit
from kdbench.value import whole

VERSION = 1


class TripletAngle(PointRelation):
    """The cosine of the angle at point i between the ways to points j and k, (B, G, N, K, K), all three different.

    As Park et al. 2019 (RKD, over samples), Park et al. 2021 (CKD, over tokens and layers) and Liu et al. 2022
    (MGSKD, over tokens, spans and samples, there of chosen anchors) compare them. Blind to a rotation, a shift and a
    scaling of all states. Two points at the same place have no direction: their angles are 0 and teach nothing. Over
    three points each sees a single angle, which has neither a direction nor a distribution: compare it by value.

    Memory grows with B N K (K + D); over tokens a window bounds K.

    Args:
        over, embeddings, view, span_length, heads: see `PointRelation`.
        window: over tokens, j and k are of so many around i, itself in their middle (CKD: 21); None for all. Padding
            counts as none, where CKD's release masks only the middle one.
    """

    name = "triplet_angle"
    least_layers = 3

    def __init__(
        self,
        over: Over = "tokens",
        embeddings: bool = True,
        view: Literal["mean", "cls"] = "mean",
        span_length: int = SPAN_LENGTH,
        heads: int = 1,
        window: int | None = None,
    ) -> None:
        whole("knowledge.window", window, least=3, null="all tokens")
        if window is not None and window % 2 == 0:
            raise KdbenchError(
                f"knowledge.window={window} must be odd, for as many tokens on either side: set it to {window + 1}"
            )
        super().__init__(over, embeddings, view, span_length, heads)
        self.window = window if over == "tokens" else None

    def relation(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        around, counts = neighbours(points, mask, self.window)
        ways = unit(around - points[:, :, :, None], least=NO_DIRECTION)
        different = ~torch.eye(around.shape[3], dtype=torch.bool, device=points.device)
        return ways @ ways.transpose(-1, -2), counts[..., :, None] & counts[..., None, :] & different
