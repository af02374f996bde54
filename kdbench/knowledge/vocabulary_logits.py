"""The scores of all words."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import Tensor

from kdbench.decoder import Words
from kdbench.fused.word_distance import fused_distance
from kdbench.knowledge.base import Distance, Knowledge, Objective
from kdbench.knowledge.words import Positions, Reduction, check_positions, chosen, read
from kdbench.outputs import ModelOutputs, Taps
from kdbench.value import choice

VERSION = 1


class VocabularyLogits(Knowledge):
    """A masked language model's scores of all V words, at some tokens of a batch (Tan et al. 2023, GLMD: at all).

    An objective compares the V scores of one token with those of the other model; a sample's loss is the mean over its
    tokens. The scores of all tokens are never there together where losses are fused.

    Args:
        positions: `real` for every token that is no padding, `masked` for those whose word is to be told, or a list of
            places in the row, counted from 0.
        reduction: `valid` divides by the tokens that are compared, so that every row of a batch weighs the same,
            however long; `all` (compat=glmd) by the padded length, so that a loss shrinks with the padding.
    """

    layered = False
    of_words = True
    kind = "logits"

    def __init__(self, positions: Positions = "real", reduction: Reduction = "valid") -> None:
        check_positions(positions)
        choice("knowledge.reduction", reduction, ("valid", "all"))
        self.positions, self.reduction = positions, reduction

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(decoder_inputs=True)

    def extract(self, outputs: ModelOutputs, layer: int) -> Words:
        return read(outputs, chosen(outputs, self.positions), self.reduction)

    def distance(self, objective: Objective, student: Words, teacher: Words, tokens: Tensor) -> Tensor:
        return student.per_sample(student.shares * objective(student.logits, teacher.beside(student).logits, None))

    def fused(self, objective: Objective) -> Distance:
        return partial(fused_distance, objective)
