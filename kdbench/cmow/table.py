"""A word embedding whose entries are matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MatrixTable(nn.Module):
    """A d x d matrix for each of V words (Mai et al. 2019), or the sum of one of low rank and a diagonal one.

    Args:
        words: V.
        side: d.
        rank: r of `left @ right + diag(diagonal)`, with left (d, r) and right (r, d) of each word, which then has
            d (2 r + 1) parameters in the place of d^2; None: the matrices are whole.
        init: `noisy_identity`, I + N(0, std^2), so that a product of many is neither nothing nor immense; `identity`;
            `normal`, N(0, std^2), whose products vanish within a few words. Of low rank it is the first alone:
            N(0, std^2) in left and right, 1 + N(0, std^2) in diagonal.
        std: of the noise: 0.01 in Galke et al. 2022, 0.1 in Mai et al. 2019.
        padding_id: the word whose matrix is the identity at first.
    """

    def __init__(
        self,
        words: int,
        side: int,
        rank: int | None = None,
        init: str = "noisy_identity",
        std: float = 0.01,
        padding_id: int | None = None,
    ) -> None:
        super().__init__()
        self.side, self.rank, self.init, self.std, self.padding_id = side, rank, init, std, padding_id
        if rank is None:
            self.whole = nn.Embedding(words, side * side)
        else:
            self.left, self.right = nn.Embedding(words, side * rank), nn.Embedding(words, rank * side)
            self.diagonal = nn.Embedding(words, side)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh matrices, drawn from torch's generator."""
        if self.rank is None:
            identity = torch.eye(self.side).flatten()
            drawn = self.whole.weight.normal_(std=0.0 if self.init == "identity" else self.std)
            if self.init != "normal":
                drawn += identity
            if self.padding_id is not None:
                drawn[self.padding_id] = identity
            return
        self.left.weight.normal_(std=self.std)
        self.right.weight.normal_(std=self.std)
        self.diagonal.weight.normal_(mean=1.0, std=self.std)
        if self.padding_id is not None:
            for part, value in ((self.left, 0.0), (self.right, 0.0), (self.diagonal, 1.0)):
                part.weight[self.padding_id] = value

    def forward(self, words: Tensor) -> Tensor:
        """The matrices of words: (...) int64 -> (..., d, d)."""
        side = self.side
        if self.rank is None:
            return self.whole(words).unflatten(-1, (side, side))
        left = self.left(words).unflatten(-1, (side, self.rank))
        right = self.right(words).unflatten(-1, (self.rank, side))
        return left @ right + torch.diag_embed(self.diagonal(words))
