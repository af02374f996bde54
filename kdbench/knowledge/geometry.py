"""Points, their heads, and who is whose neighbour."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NO_DIRECTION = 1e-6
"""A way shorter than this is rounding: it has no direction and, so that no gradient explodes, teaches nothing."""


def split_heads(points: Tensor, mask: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Points (B, G, N, D) as (B, G heads, N, D / heads), a group a head, and their mask (B, G, N) alike."""
    batch, groups, count, width = points.shape
    split = points.reshape(batch, groups, count, heads, width // heads).transpose(2, 3)
    return split.reshape(batch, groups * heads, count, width // heads), mask.repeat_interleave(heads, dim=1)


def neighbours(points: Tensor, mask: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
    """The points around each point, and which of them count beside it.

    Args:
        points: (B, G, N, D).
        mask: (B, G, N), true on points that exist.
        window: how many stand around a point, itself in their middle (an odd number); None for all N.

    Returns:
        (B, G, N, K, D) and (B, G, N, K), K = window or N; a point is no neighbour of itself.
    """
    count = points.shape[2]
    if window is None or window >= 2 * count - 1:
        others = ~torch.eye(count, dtype=torch.bool, device=points.device)
        return points[:, :, None].expand(-1, -1, count, -1, -1), mask[:, :, :, None] & mask[:, :, None] & others
    reach = window // 2
    around = functional.pad(points, (0, 0, reach, reach)).unfold(2, window, 1).transpose(-1, -2)
    existing = functional.pad(mask, (reach, reach), value=False).unfold(2, window, 1)
    others = torch.arange(window, device=points.device) != reach
    return around, mask[:, :, :, None] & existing & others
