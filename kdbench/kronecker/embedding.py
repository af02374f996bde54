"""A word embedding whose rows are Kronecker products with one row that all words share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdbench.error import ImpossibleError


class KroneckerEmbedding(nn.Module):
    """Row i is A_i x B with A (V, D / n) and one row B of n numbers for the whole vocabulary (Tahaei et al. 2022,
    section 3.3): every word keeps a row of its own.

    Args:
        words: V.
        width: D.
        shared: n, which divides D.
        padding_id: the word whose row learns nothing; None: there is none.

    Raises:
        ImpossibleError: a number that does not divide the width.
    """

    def __init__(self, words: int, width: int, shared: int, padding_id: int | None = None) -> None:
        super().__init__()
        if shared < 1 or width % shared:
            raise ImpossibleError(f"an embedding of width {width} has no {shared} equal parts: choose a divisor")
        self.width, self.shared = width, shared
        self.table = nn.Embedding(words, width // shared, padding_idx=padding_id)
        self.b = nn.Parameter(torch.empty(shared))
        self.reset_parameters()

    @property
    def num_embeddings(self) -> int:
        """V."""
        return self.table.num_embeddings

    def reset_parameters(self, deviation: float = 0.02) -> None:
        """Random factors whose products have that standard deviation; a padding row of zeros."""
        nn.init.normal_(self.table.weight, std=deviation**0.5)
        nn.init.normal_(self.b, std=deviation**0.5)
        if self.table.padding_idx is not None:
            with torch.no_grad():
                self.table.weight[self.table.padding_idx].zero_()

    def forward(self, words: Tensor) -> Tensor:
        """(...) int64 -> (..., D)."""
        return (self.table(words)[..., None] * self.b).flatten(-2)

    def contracted(self, inputs: Tensor) -> Tensor:
        """What a tied head multiplies with the table: inputs of the head with their n shared parts summed up by B, so
        that `table @ contracted(h)` are the scores of all words. (..., D) -> (..., D / n)"""
        return inputs.view(*inputs.shape[:-1], -1, self.shared) @ self.b

    def matrix(self) -> Tensor:
        """The table itself, (V, D)."""
        return (self.table.weight[..., None] * self.b).flatten(-2)
