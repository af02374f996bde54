"""Learned maps of one side, one a layer or one for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["linear", "relu", "tanh"]
ACTIVATIONS = {"linear": lambda values: values, "relu": torch.relu, "tanh": torch.tanh}


class LayerMaps(nn.Module):
    """activation(W x + b) with a W and b a layer, (..., D_in) -> (..., D_out), drawn from N(0, 0.02^2) with zero bias.

    Args:
        width_in, width_out: D_in, D_out.
        layers: the layers that are mapped.
        shared: one map for them all.
        bias: with a bias.
        activation: `linear` for none.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        layers: Sequence[int],
        shared: bool,
        bias: bool,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.places = {layer: 0 if shared else place for place, layer in enumerate(layers)}
        self.linears = nn.ModuleList(nn.Linear(width_in, width_out, bias) for _ in range(1 if shared else len(layers)))
        self.activation = activation
        for linear in self.linears:
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=0.02)
            if bias:
                nn.init.zeros_(linear.bias)

    def forward(self, values: Tensor, layer: int) -> Tensor:
        mapped: Tensor = ACTIVATIONS[self.activation](self.linears[self.places[layer]](values))
        return mapped
