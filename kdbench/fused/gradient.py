"""The backward pass of a function whose gradient was made with its value."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.error import KdbenchError


def scaled(gradient: Tensor | None, losses: Tensor) -> Tensor | None:
    """The kept gradient (B, ...) of each sample's loss, times what reaches that loss from above, (B,).

    Raises:
        KdbenchError: in a backward pass that is to be differentiated itself, which would take the gradient for a
            constant.
    """
    if torch.is_grad_enabled():
        raise KdbenchError("a fused loss keeps its gradient as numbers, which cannot be differentiated again: set "
                           "fused=false for a gradient of the gradient")  # fmt: skip
    return None if gradient is None else gradient * losses.reshape(-1, *(1,) * (gradient.dim() - 1))
