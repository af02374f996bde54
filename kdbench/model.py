"""What the engine asks of a model, teacher or student."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from kdbench.data.batch import Batch
from kdbench.decoder import Decoder
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

WEIGHTS = "student.safetensors"
"""The file of a finished stage that holds `own_weights` of its student."""


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

    @property
    def bare(self) -> Model:
        """The model itself, without what is put around it."""
        return self

    @property
    def decoder(self) -> Decoder | None:
        """The last map of a vocabulary head; None of a model without one."""
        return None

    @property
    def reads_types(self) -> bool:
        """Whether it reads which of two texts a token belongs to."""
        return False

    @property
    def reads_texts_apart(self) -> bool:
        """Whether it reads either of two texts by itself, which tokens without a type would not tell."""
        return False

    def of_head(self, name: str) -> bool:
        """Whether a weight of that name, of this model or of the same body under another head, belongs to the head."""
        return False

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration and weights (safetensors) so that the model can be loaded without kdbench, if it can."""


def own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, on the CPU; one that has several names (a decoder tied to the word embedding)
    has its first."""
    found, seen = {}, set()
    for name, value in model.state_dict().items():
        place = (value.data_ptr(), value.shape)
        if value.numel() == 0 or place not in seen:
            found[name] = value.detach().cpu().contiguous()
            seen.add(place)
    return found


def take_over(model: Model, weights: Mapping[str, torch.Tensor]) -> None:
    """Put the weights of `own_weights` into a model of the same body. What its head shares with theirs comes too; the
    rest of its head stays as it is.

    Raises:
        RuntimeError: a body of another architecture.
    """
    mine = model.state_dict()
    lacking = [name for name in own_weights(model) if name not in weights and not model.of_head(name)]
    unknown = [name for name in weights if name not in mine and not model.of_head(name)]
    if lacking or unknown:
        raise RuntimeError(f"weights that are not on both sides: {', '.join([*lacking, *unknown])}")
    fitting = {
        name: value
        for name, value in weights.items()
        if name in mine and (not model.of_head(name) or value.shape == mine[name].shape)
    }
    model.load_state_dict(fitting, strict=False)


def load_weights(model: Model, folder: Path) -> None:
    """Put the weights of a finished stage's folder into a student of the same body; as `take_over`."""
    take_over(model, load_file(folder / WEIGHTS))


def weights_digest(model: nn.Module) -> str:
    """A digest of all parameters and buffers, by name: equal for equal weights alone."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
