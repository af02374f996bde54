"""Optimal transport between the two stacks of layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdbench.matching.base import Matching, Pairs, grid
from kdbench.matching.pairing import Pairing, Reduction, WeightedPairing

VERSION = 1


class Emd(Matching):
    """Every student layer meets the teacher layers that the cheapest transport gives it (BERT-EMD, Li et al. 2020).

    The earth mover's distance between the two sets of layers: each student layer holds the same mass, each teacher
    layer takes the same, moving it costs the batch's mean distance of the pair, and the exact flow is solved anew at
    every step. The loss is sum of flow * distance; no gradient runs through the flow. With `reduction: mean` masses
    sum to 1, as in the paper; with `sum` each student layer holds 1, so that the term's weight means what it means with
    the other matchings.

    Deviation: the paper's cost attention, which moves the masses by the costs of the steps before, is not offered:
    masses stay uniform, and the loss is a function of the batch alone.
    """

    fixed = False

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        return grid(student_layers, teacher_layers)

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        return EmdPairing(pairs, reduction)


class EmdPairing(WeightedPairing):
    """The flow of each student layer's mass as its weights."""

    def weights(self, distances: Tensor) -> Tensor:
        costs = distances.detach().mean(dim=1).reshape(self.layers, -1)
        return (flow(costs) * self.layers).flatten()


def flow(costs: Tensor) -> Tensor:
    """The exact transport of least cost between uniform masses.

    Args:
        costs: of moving a unit from row i to column j, (I, J).

    Returns:
        (I, J), whose rows sum to 1 / I and columns to 1 / J, on the CPU in double precision. For costs that are not
        finite every cell gets the same, so that they reach the loss, which says so.
    """
    rows, columns = costs.shape
    if not bool(costs.isfinite().all()):
        return torch.full((rows, columns), 1.0 / (rows * columns), dtype=torch.float64)
    # POT imports everything it can do, a third of a second beside torch and scikit-learn and two without them.
    from ot.lp import emd  # type: ignore[import-untyped]

    plan = emd(np.full(rows, 1.0 / rows), np.full(columns, 1.0 / columns), costs.double().cpu().numpy())
    return torch.from_numpy(np.asarray(plan))
