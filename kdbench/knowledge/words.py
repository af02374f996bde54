"""What is read at the places of a batch's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdbench.data.batch import NO_PLACE
from kdbench.decoder import Words
from kdbench.error import KdbenchError
from kdbench.masking import full_precision
from kdbench.outputs import ModelOutputs

Positions = Literal["real", "masked"] | Sequence[int]
Reduction = Literal["valid", "all"]


def check_positions(positions: Positions) -> None:
    """Refuse what is neither a word nor a list of places."""
    listed = not isinstance(positions, str) and isinstance(positions, Sequence) and len(positions) > 0
    whole = listed and all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in positions)
    if positions not in ("real", "masked") and not whole:
        raise KdbenchError(
            f"knowledge.positions={positions} must be real, masked or a list of places counted from 0, such as [0]"
        )


def chosen(outputs: ModelOutputs, positions: Positions) -> Tensor:
    """Which tokens are read, (B, S): every real one, those whose word is to be told, or those at the listed places."""
    tokens = outputs.mask
    if positions == "real":
        return tokens
    if positions == "masked":
        assert outputs.words is not None
        return tokens & (outputs.words != NO_PLACE)
    length = tokens.shape[1]
    listed = torch.tensor([place for place in positions if int(place) < length], device=tokens.device, dtype=torch.long)
    return tokens & torch.zeros_like(tokens).index_fill(1, listed, True)


def read(outputs: ModelOutputs, places: Tensor, reduction: Reduction = "valid") -> Words:
    """What a model says at these places.

    Args:
        outputs: with `decoder_inputs` and its decoder.
        places: (B, S).
        reduction: `valid` makes a sample's loss the mean over its places; `all` divides by the padded length instead.
    """
    assert outputs.decoder_inputs is not None and outputs.decoder is not None
    samples = places.nonzero()[:, 0]
    divisors = places.sum(dim=1)[samples] if reduction == "valid" else torch.full_like(samples, places.shape[1])
    inputs = full_precision(outputs.decoder_inputs[places])
    return Words(inputs, outputs.decoder, samples, 1.0 / divisors.to(inputs.dtype), len(places))
