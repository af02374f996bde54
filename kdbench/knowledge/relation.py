"""Relations between the tokens' queries, keys or values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.fused.relation_kl import fused_divergence
from kdbench.knowledge.base import Distance, Knowledge, Objective, refuse_projection
from kdbench.masking import full_precision
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.value import choice

VERSION = 2
"""2: the products are float32 under autocast too, and `scale=head` is a factor of the vectors, not of the products."""

Of = Literal["query", "key", "value"]


class Relation(Knowledge):
    """Scaled dot products between the tokens' queries, keys or values, (B, R, S, S), before softmax.

    A divergence as objective makes them the relations of MiniLM (Wang et al. 2020, section 3.2, of values) and MiniLMv2
    (Wang et al. 2021). Only pairs of two real tokens count, where GLMKD's versions let padding relate. They are blind
    to a rotation or a change of sign of all vectors, not to a shift.

    Args:
        of: `query`, `key` or `value`, as they are after their bias, before heads attend.
        heads: `native` takes the models' own heads, of which both need equally many; `flatten` one head of the whole
            width; a number R joins the heads and splits the width anew into R of them (MiniLMv2: 48 or 64).
        scale: of the dot products: `split` divides by the root of the width that is multiplied; `head` by that of the
            model's own head width, compat with OFA-Compress, whose flattened relations are thereby sharper than
            `split` by the root of the model's heads (a defect).
    """

    def __init__(self, of: Of, heads: str | int = "native", scale: Literal["split", "head"] = "split") -> None:
        choice("knowledge.of", of, ("query", "key", "value"))
        choice("knowledge.scale", scale, ("split", "head"))
        number = isinstance(heads, int) and not isinstance(heads, bool) and heads >= 1
        if not number and heads not in ("native", "flatten"):
            raise KdbenchError(f"knowledge.heads={heads} must be native, flatten or a whole number of at least 1")
        self.of, self.scale = of, scale
        self.heads = 1 if heads == "flatten" else heads

    def taps(self, layers: Iterable[int]) -> Taps:
        read = frozenset(layers)
        if self.of == "query":
            return Taps(query=read)
        return Taps(key=read) if self.of == "key" else Taps(value=read)

    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        vectors = {"query": outputs.query, "key": outputs.key, "value": outputs.value}[self.of][layer]
        own = vectors.shape[-1]
        if isinstance(self.heads, int):
            batch, heads, tokens, width = vectors.shape
            split = vectors.transpose(1, 2).reshape(batch, tokens, self.heads, heads * width // self.heads)
            vectors = split.transpose(1, 2)
        if self.scale == "head" and vectors.shape[-1] != own:
            vectors = full_precision(vectors) * (vectors.shape[-1] / own) ** 0.25
        return vectors

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        vectors = full_precision(values)
        with torch.autocast(values.device.type, enabled=False):
            products = vectors @ vectors.transpose(-1, -2) / math.sqrt(vectors.shape[-1])
        return products, tokens[:, None, :, None] & tokens[:, None, None, :]

    def fused(self, objective: Objective) -> Distance | None:
        return fused_divergence(objective)

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        name = f"{self.of}_relation"
        refuse_projection(name, projected)
        if isinstance(self.heads, int):
            refuse_indivisible(name, self.heads, student, teacher)
        elif student.heads != teacher.heads:
            raise ImpossibleError(
                f"knowledge={name} with heads=native needs equal numbers of heads, but the student has {student.heads} "
                f"and the teacher {teacher.heads}: set knowledge.heads=flatten, or to one of "
                f"{divisors(student, teacher)}, which divide both widths"
            )


def refuse_indivisible(knowledge: str, heads: int, student: Shape, teacher: Shape) -> None:
    """The refusal of every knowledge that splits the widths into heads of its own."""
    if student.width % heads or teacher.width % heads:
        raise ImpossibleError(
            f"knowledge={knowledge} splits the widths into heads={heads}, which does not divide both the student's "
            f"{student.width} and the teacher's {teacher.width}: set knowledge.heads to one of "
            f"{divisors(student, teacher)}"
        )


def divisors(student: Shape, teacher: Shape) -> str:
    """The numbers of heads into which both widths can be split, in words."""
    common = math.gcd(student.width, teacher.width)
    return ", ".join(str(number) for number in range(1, common + 1) if common % number == 0)
