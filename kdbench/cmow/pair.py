"""Two texts of a row: where each of them stands, and how their encodings become one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from kdbench.data.batch import Batch

JOINT = "joint"
"""Both texts are one sequence, as a transformer reads them."""
COSINE = "cosine"
"""One number of both texts."""


def diffcat(first: Tensor, second: Tensor) -> Tensor:
    """[a ; b ; |a - b|]: (B, D) twice -> (B, 3 D) (Galke et al. 2022)."""
    return torch.cat([first, second, (first - second).abs()], dim=-1)


def concat(first: Tensor, second: Tensor) -> Tensor:
    """[a ; b]: (B, D) twice -> (B, 2 D)."""
    return torch.cat([first, second], dim=-1)


def hadamard(first: Tensor, second: Tensor) -> Tensor:
    """a * b, element by element: (B, D) twice -> (B, D)."""
    return first * second


def mean(first: Tensor, second: Tensor) -> Tensor:
    """(a + b) / 2: (B, D) twice -> (B, D)."""
    return (first + second) / 2


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Their cosine, for the head to scale: (B, D) twice -> (B, 1)."""
    return functional.cosine_similarity(first, second, dim=-1)[..., None]


PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    each.__name__: each for each in (diffcat, concat, hadamard, mean, cosine)
}


def paired_width(pair: str, width: int) -> int:
    """The width of a combined encoding, given that of one."""
    return {"diffcat": 3 * width, "concat": 2 * width, COSINE: 1}.get(pair, width)


def texts_of(batch: Batch, padding_id: int | None = None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Ids and mask of the first texts of all rows, and of the second ones, each from its first token on.

    [CLS] and the [SEP] between them belong to the first text, the last [SEP] to the second, as token types have it.

    Args:
        batch: of pairs.
        padding_id: as released, every text keeps its place and the batch's length, and this stands for the other one.
    """
    second = batch.attention_mask & (batch.token_type_ids == 1)
    first = batch.attention_mask & ~second
    if padding_id is not None:
        none = torch.full_like(batch.input_ids, padding_id)
        return (torch.where(first, batch.input_ids, none), first), (torch.where(second, batch.input_ids, none), second)
    return _moved(batch.input_ids, first), _moved(batch.input_ids, second)


def _moved(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A text at the beginning of its row, the rows as short as the longest text."""
    lengths = mask.sum(dim=1)
    longest = ids.shape[1] if torch.compiler.is_exporting() else max(1, int(lengths.max()))
    steps = torch.arange(longest, device=ids.device)
    places = (mask.int().argmax(dim=1)[:, None] + steps).clamp(max=ids.shape[1] - 1)
    return ids.gather(1, places), steps < lengths[:, None]
