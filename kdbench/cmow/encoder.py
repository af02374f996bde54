"""Sequences as sums of their words' vectors and products of their words' matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.cmow.layout import Layout
from kdbench.cmow.product import prefixes, product, suffixes
from kdbench.cmow.table import MatrixTable
from kdbench.masking import full_precision


@dataclass(frozen=True)
class Tables:
    """How the embeddings of an encoder are drawn and read.

    Attributes:
        words: V.
        padding_id: the tokenizer's padding token.
        rank, init, std: of the matrices, see `MatrixTable`; vectors are drawn from N(0, std^2) whatever `init` says.
        dropout: of single elements of vectors and matrices, the diagonal among them, before they are added up and
            multiplied: of a product of n matrices a diagonal element that stays has (1 - dropout)^-n times its size.
        released: padding is added and multiplied as any word, with a vector that stays as it is drawn (the release's
            table is frozen there) and a matrix that learns.
    """

    words: int
    padding_id: int
    rank: int | None = None
    init: str = "noisy_identity"
    std: float = 0.01
    dropout: float = 0.0
    released: bool = False


class MatrixEncoder(nn.Module):
    """CBOW, CMOW or both (Mai et al. 2019), in one direction or in two (Galke et al. 2022, section III).

    Of a sequence t_1 ... t_S, with vectors v and matrices E, and others E' for the way back:

        u = v[t_1] + ... + v[t_S]     M = E[t_1] E[t_2] ... E[t_S]     M' = E'[t_S] E'[t_{S-1}] ... E'[t_1]

    What is masked is left out: it adds 0 and multiplies by I.

    Args:
        layout: which of them there are, and their sizes.
        tables: how they are drawn and read.
    """

    def __init__(self, layout: Layout, tables: Tables) -> None:
        super().__init__()
        self.layout, self.released, self.padding_id = layout, tables.released, tables.padding_id
        self.embeddings = nn.ModuleDict()  # the name by which parameters of embeddings are counted
        if layout.vector:
            vectors = nn.Embedding(tables.words, layout.vector, padding_idx=tables.padding_id)
            nn.init.normal_(vectors.weight, std=tables.std)
            if not tables.released:
                with torch.no_grad():
                    vectors.weight[tables.padding_id].zero_()
            self.embeddings["vectors"] = vectors
        for direction in layout.directions if layout.side else ():
            self.embeddings[direction] = MatrixTable(
                tables.words, layout.side, tables.rank, tables.init, tables.std, tables.padding_id
            )
        self.dropout = nn.Dropout(tables.dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[u ; vec(M) ; vec(M')] of each row: (B, S) and (B, S) -> (B, `layout.pooled`)."""
        found = [self._vectors(ids, mask).sum(dim=1)] if self.layout.vector else []
        for direction in self.layout.directions if self.layout.side else ():
            found.append(product(self._matrices(direction, ids, mask), back=direction == "back").flatten(1))
        return torch.cat(found, dim=1)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What every token says of the words up to it and from it on, both with itself: (B, S, `layout.state`).

        h_i = [v[t_1] + ... + v[t_i] ; vec(F_i) ; v[t_i] + ... + v[t_S] ; vec(G_i)] with F_i = F_{i-1} E[t_i] and
        G_i = G_{i+1} E'[t_i]; a single direction has the first half alone. The release hands out the second half from
        the last token on, so that place i has what belongs to S + 1 - i: `layout.turned`.
        """
        vectors = self._vectors(ids, mask) if self.layout.vector else None
        sums = None if vectors is None else vectors.cumsum(dim=1)
        found: list[Tensor] = []
        for direction in self.layout.directions:
            ahead, half = direction == "ahead", []
            if vectors is not None and sums is not None:
                half.append(sums if ahead else sums[:, -1:] - sums + vectors)
            if self.layout.side:
                matrices = self._matrices(direction, ids, mask)
                half.append((prefixes if ahead else suffixes)(matrices).flatten(2))
            found += half if ahead or not self.layout.turned else [part.flip(1) for part in half]
        return torch.cat(found, dim=2)

    def alone(self, ids: Tensor) -> Tensor:
        """The state of each word as if it were the whole sequence, which is its embedding: (B, S, `layout.state`)."""
        found = []
        for direction in self.layout.directions:
            if self.layout.vector:
                found.append(full_precision(self.embeddings["vectors"](ids)))
            if self.layout.side:
                found.append(full_precision(self.embeddings[direction](ids)).flatten(2))
        return torch.cat(found, dim=2)

    def _vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        vectors = full_precision(self.dropout(self.embeddings["vectors"](ids)))
        return vectors if self.released or _whole(mask) else vectors * mask[:, :, None]

    def _matrices(self, direction: str, ids: Tensor, mask: Tensor) -> Tensor:
        matrices = full_precision(self.dropout(self.embeddings[direction](ids)))
        if self.released or _whole(mask):
            return matrices
        identity = torch.eye(self.layout.side, dtype=matrices.dtype, device=matrices.device)
        return torch.where(mask[:, :, None, None], matrices, identity)


def _whole(mask: Tensor) -> bool:
    """Whether nothing is padding, which saves a copy; asked where the answer is at hand, and not of a GPU."""
    return mask.device.type == "cpu" and not torch.compiler.is_exporting() and bool(mask.all())
