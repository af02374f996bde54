"""Between a factored encoder and the dense one of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.error import ImpossibleError
from kdbench.kronecker.embedding import KroneckerEmbedding
from kdbench.kronecker.linear import KroneckerLinear
from kdbench.kronecker.nearest import nearest, nearest_row
from kdbench.model import Model
from kdbench.student.compressed import of_kept_words


@torch.no_grad()
def approximate(factored: nn.Module, dense: Mapping[str, Tensor]) -> None:
    """Give a factored model the weights of a dense one of the same architecture: what is factored gets the nearest
    products, everything else the weights themselves.

    Args:
        factored: is changed in place.
        dense: all parameters and buffers by name.
    """
    for name, part in factored.named_modules():
        if isinstance(part, KroneckerLinear):
            a, b = nearest(dense[f"{name}.weight"], part.factors)
            part.a.copy_(a)
            part.b.copy_(b)
        elif isinstance(part, KroneckerEmbedding):
            table, row = nearest_row(dense[f"{name}.weight"], part.shared)
            part.table.weight.copy_(table)
            part.b.copy_(row)
    mine = factored.state_dict()
    factored.load_state_dict({name: value for name, value in dense.items() if name in mine}, strict=False)


def take_head(student: Model, teacher: Model) -> None:
    """Give a student what stands above its teacher's layers; a factored map gets the nearest products.

    Raises:
        ImpossibleError: heads of other shapes.
    """
    ours: Any = student.bare
    from_them: Any = teacher.bare
    try:
        theirs = from_them.heads
        for name, part in ours.heads.items():
            approximate(part, of_kept_words(student, theirs[name].state_dict()))
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ImpossibleError(
            "the student's head has another shape than its teacher's, which head=teacher gives it: choose a student as "
            "wide as its teacher, or leave the stage's head out"
        ) from error


def multiplied(factored: nn.Module) -> dict[str, Tensor]:
    """The weights of the dense model that computes the same, by their names there."""
    found = dict(factored.state_dict())
    for name, part in factored.named_modules():
        if isinstance(part, KroneckerLinear):
            del found[f"{name}.a"], found[f"{name}.b"]
            found[f"{name}.weight"] = part.matrix()
        elif isinstance(part, KroneckerEmbedding):
            del found[f"{name}.table.weight"], found[f"{name}.b"]
            found[f"{name}.weight"] = part.matrix()
    return {name: value.detach() for name, value in found.items()}
