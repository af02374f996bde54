"""The words that were masked."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdbench.decoder import Words
from kdbench.fused.options import changed_options
from kdbench.fused.word_chunks import by_chunks
from kdbench.fused.word_losses import Gold
from kdbench.knowledge.base import Distance, Knowledge, Objective
from kdbench.knowledge.words import chosen, read
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.outputs import ModelOutputs, Taps

VERSION = 1


class MaskedWords(Knowledge):
    """The student's scores of all words against the word that stood at each place.

    Masked language modelling without a teacher (Devlin et al. 2019). A sample's loss is the mean over its places.
    """

    layered = False
    of_words = True
    of_hidden_words = True
    from_labels = True
    kind = "classes"

    def taps(self, layers: Iterable[int]) -> Taps:
        return Taps(decoder_inputs=True)

    def extract(self, outputs: ModelOutputs, layer: int) -> Words:
        return read(outputs, chosen(outputs, "masked"))

    def target(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """The words themselves, (N,), by their rows in the student's vocabulary."""
        assert outputs.words is not None and outputs.decoder is not None
        return outputs.decoder.row_of(outputs.words[chosen(outputs, "masked")])

    def distance(self, objective: Objective, student: Words, teacher: Tensor, tokens: Tensor) -> Tensor:
        return student.per_sample(student.shares * objective(student.logits, teacher))

    def fused(self, objective: Objective) -> Distance | None:
        return _fused if changed_options(objective, cross_entropy) == {} else None


def _fused(student: Words, words: Tensor, tokens: Tensor) -> Tensor:
    return student.per_sample(by_chunks(student.inputs, student.decoder, Gold(words), student.shares))
