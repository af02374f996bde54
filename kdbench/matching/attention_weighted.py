"""A mix of all teacher layers, weighed by their products with the student's."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs, grid
from kdbench.matching.pairing import Pairing, Reduction, Sides
from kdbench.progress import Progress
from kdbench.value import switch

VERSION = 1


class AttentionWeighted(Matching):
    """Student layer j meets sum_i a_ji t_i with a_ji = softmax_i(s_j . t_i) over all teacher layers (ALP-KD).

    Passban et al. 2021, on the [CLS] vectors (`knowledge.view=cls`), of equal width after the projection. Of a view
    with several places, (B, S, D), the first place gives the weights, as [CLS] does in the paper, and all places are
    mixed by them; so padding takes no part. The embedding outputs are not mixed: their pair stands beside the others.

    Args:
        scaled: divide the products by the root of the width, without which they grow with it; False is the paper.
        detach: no gradient through the weights; False is the paper, where the student can also learn to be weighed
            towards what is close.
    """

    fixed = False
    mixes = True

    def __init__(self, scaled: bool = False, detach: bool = False) -> None:
        switch("matching.scaled", scaled)
        switch("matching.detach", detach)
        self.scaled, self.detach = scaled, detach

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        return grid(student_layers, teacher_layers)

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        return AttentionPairing(pairs, reduction, self.scaled, self.detach)


class AttentionPairing(Pairing):
    """One distance a student layer, to its mix of teacher layers."""

    def __init__(self, pairs: Pairs, reduction: Reduction = "sum", scaled: bool = False, detach: bool = False) -> None:
        super().__init__(pairs, reduction)
        self.scaled, self.detach = scaled, detach
        self.apart = [pair for pair in pairs if 0 in pair]
        self.students = sorted({ours for ours, _ in pairs} - {0})
        self.teachers = sorted({theirs for _, theirs in pairs} - {0})

    def forward(self, sides: Sides, progress: Progress) -> Tensor:
        distances = [sides.distance(sides.student(ours), sides.teacher(theirs)) for ours, theirs in self.apart]
        if not self.students:  # a knowledge of the embedding outputs alone
            return self.reduce(torch.stack(distances))
        layers = torch.stack([sides.teacher(layer) for layer in self.teachers], dim=1)
        for ours in self.students:
            student = sides.student(ours)
            _refuse_unmixable(student, layers)
            weights = layer_weights(_first(student), _first(layers, 2), self.scaled)
            mixed = torch.einsum("bl,bl...->b...", weights.detach() if self.detach else weights, layers)
            distances.append(sides.distance(student, mixed))
        return self.reduce(torch.stack(distances))


def layer_weights(student: Tensor, teacher: Tensor, scaled: bool) -> Tensor:
    """softmax over the teacher's layers of their products with the student's vector: (B, D), (B, L, D) -> (B, L)."""
    products = torch.einsum("bd,bld->bl", student, teacher)
    return (products * student.shape[-1] ** -0.5 if scaled else products).softmax(dim=1)


def _first(values: Tensor, places: int = 1) -> Tensor:
    """The vector of the first place, where there are places: axis `places` of what has one axis more than it."""
    return values if values.dim() == places + 1 else values.select(places, 0)


def _refuse_unmixable(student: Tensor, layers: Tensor) -> None:
    if student.dim() not in (2, 3) or student.shape != (layers.shape[0], *layers.shape[2:]):
        raise ImpossibleError(
            f"matching=attention_weighted mixes vectors of one width, but the student's layer gives the shape "
            f"{tuple(student.shape[1:])} and the teacher's {tuple(layers.shape[2:])} a sample: choose "
            "projection=to_teacher for unequal widths, or matching=uniform for a knowledge without a width"
        )
