"""What is compared of a chunk of vocabulary logits: divergences and gold words by hand, anything else by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kdbench.decoder import Decoder
from kdbench.fused.word_chunks import blocks, product, size_of_chunk

Rows = Callable[[Tensor, Tensor], Tensor]
"""(student (c, V), teacher (c, V)) -> (c,)."""


class Against:
    """Compares with a teacher's logits, which are made for a chunk too; no gradient reaches them.

    Args:
        inputs: of the teacher's vocabulary head, (N, E).
        decoder: the teacher's, of the same V words.
    """

    def __init__(self, inputs: Tensor, decoder: Decoder) -> None:
        self.inputs, self.weight = inputs.detach(), decoder.weight.detach()
        self.bias = None if decoder.bias is None else decoder.bias.detach()
        self._held: Tensor | None = None

    def theirs(self, here: slice) -> Tensor:
        """The teacher's logits of these places, in memory that the next call uses again."""
        if self._held is None:
            places = min(size_of_chunk(self.inputs), len(self.inputs))
            self._held = self.inputs.new_empty(places, len(self.weight))
        out = self._held[: here.stop - here.start]
        return product(self.inputs[here], self.weight, self.bias, out)


class Divergence(Against):
    """KL(softmax(teacher) || softmax(student)) of each place.

    Args:
        inputs, decoder: see `Against`.
        crossed: the cross-entropy in place of the divergence, larger by the teacher's entropy.
    """

    def __init__(self, inputs: Tensor, decoder: Decoder, crossed: bool = False) -> None:
        super().__init__(inputs, decoder)
        self.crossed = crossed

    def __call__(self, logits: Tensor, here: slice) -> Tensor:
        theirs = self.theirs(here)
        return torch.cat([self._compared(logits[rows], theirs[rows]) for rows in blocks(logits)])

    def _compared(self, student: Tensor, teacher: Tensor) -> Tensor:
        log_student, log_teacher = student.log_softmax(dim=-1), teacher.log_softmax(dim=-1)
        target = log_teacher.exp()
        apart = log_student.neg() if self.crossed else log_teacher.sub_(log_student)
        losses = torch.bmm(target[:, None], apart[:, :, None])[:, 0, 0]
        torch.sub(log_student.exp_(), target, out=student)
        return losses


class Gold:
    """Cross-entropy with the gold word of each place, (N,) int64."""

    def __init__(self, words: Tensor) -> None:
        self.words = words

    def __call__(self, logits: Tensor, here: slice) -> Tensor:
        words = self.words[here, None]
        losses = []
        for rows in blocks(logits):
            log_student = logits[rows].log_softmax(dim=-1)
            losses.append(log_student.gather(1, words[rows])[:, 0].neg())
            torch.exp(log_student, out=logits[rows])
        logits.scatter_add_(1, words, -torch.ones_like(words, dtype=logits.dtype))
        return torch.cat(losses)


class Differentiated(Against):
    """Any objective of rows, whose gradient autograd finds.

    Args:
        inputs, decoder: see `Against`.
        objective: of the student's and the teacher's rows.
    """

    def __init__(self, inputs: Tensor, decoder: Decoder, objective: Rows) -> None:
        super().__init__(inputs, decoder)
        self.objective = objective

    def __call__(self, logits: Tensor, here: slice) -> Tensor:
        with torch.enable_grad():
            leaf = logits.detach().clone().requires_grad_()
            losses = self.objective(leaf, self.theirs(here))
            found: tuple[Any, ...] = torch.autograd.grad(losses.sum(), leaf)
        logits.copy_(found[0])
        return losses.detach()
