"""What the engine asks of a model, teacher or student."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import nn

from kdbench.data.batch import Batch
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape


class Model(nn.Module, ABC):
    """A model that fills `ModelOutputs`: every teacher, and every student."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Sizes, and the fields of `ModelOutputs` this architecture can fill."""

    @abstractmethod
    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        """One pass over a batch, capturing what `taps` names and nothing more."""

    def stop_after(self, layers: int) -> None:
        """From now on run no further than that layer: what lies above it, logits included, means nothing then.

        A model that cannot do so runs as deep as ever.
        """
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration and weights (safetensors) so that the model can be loaded without kdbench, if it can."""


def weights_digest(model: nn.Module) -> str:
    """A digest of all parameters and buffers, by name: equal for equal weights alone."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
