"""An encoder under a vocabulary head: it says which word stands at a place, and answers a task by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from kdbench.data.batch import NO_PLACE, Batch
from kdbench.decoder import Decoder
from kdbench.encoder.base import Body, Encoder, shape_of
from kdbench.head import ABSENT, WordHead
from kdbench.kronecker.factorise import KroneckerDecoder
from kdbench.outputs import Taps
from kdbench.packing import Packing
from kdbench.shape import Shape

TRANSFORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "albert": lambda model, hidden: _normed(model.predictions, hidden),
    "bert": lambda model, hidden: model.cls.predictions.transform(hidden),
    "distilbert": lambda model, hidden: model.vocab_layer_norm(model.activation(model.vocab_transform(hidden))),
    "electra": lambda model, hidden: model.generator_predictions(hidden),
    "roberta": lambda model, hidden: model.lm_head.layer_norm(functional.gelu(model.lm_head.dense(hidden))),
}
"""What stands between the last layer and the decoder, by model type: transformers has no common name for it."""


WORDS = WordHead()


class WordPredictor(Encoder):
    """A masked language model, whose decoder is mostly its word embedding.

    A row's places are the tokens that `Batch.words` names. Its logits are the scores of the answers at the one place
    that a row of a task has, or of all words where there are no answers. Of a row that is several sequences they are,
    for each of them, the log-probabilities of the words at its places, all of them hidden at once, added up and divided
    by their number to the power of `length_penalty`.

    Args:
        model: of one of the types in `TRANSFORMS`.
        head: with the answers, by their rows in this model's vocabulary.
    """

    answers: Tensor | None

    def __init__(self, model: PreTrainedModel, head: WordHead = WORDS) -> None:
        super().__init__(model)
        self.transform, self.head = TRANSFORMS[model.config.model_type], head
        self.register_buffer("answers", torch.tensor(head.answers) if head.answers else None, persistent=False)
        self._decoder: Decoder | None = None

    @property
    def shape(self) -> Shape:
        shape = shape_of(self.model, self.head.classes, word_head=True)
        return replace(shape, decoder_width=self.decoder.weight.shape[1])

    @property
    def decoder(self) -> Decoder:
        """The scores of all words from what `ModelOutputs.decoder_inputs` holds."""
        last: Any = self.model.get_output_embeddings()
        if self._decoder is None or self._decoder.weight is not last.weight:
            self._decoder = Decoder(last.weight, last.bias)
        return self._decoder

    def answer(
        self, batch: Batch, packing: Packing | None, options: dict[str, Any], taps: Taps
    ) -> tuple[Body, dict[str, Any]]:
        last, body = self.run_layers(batch, packing, options)
        fields: dict[str, Any] = {}
        if taps.decoder_inputs:
            fields = {"decoder_inputs": body.whole(self._given(last)), "decoder": self.decoder}
        if taps.logits:
            fields["logits"] = self._logits(batch, packing, last)
        return body, fields

    def _given(self, hidden: Tensor) -> Tensor:
        """What the decoder is given; of a factored one after the product with what all words share."""
        found, last = self.transform(self.model, hidden), self.model.get_output_embeddings()
        return last.contracted(found) if isinstance(last, KroneckerDecoder) else found

    def _logits(self, batch: Batch, packing: Packing | None, last: Tensor) -> Tensor:
        assert batch.words is not None, "a batch without places has no word to be told"
        sequences = torch.arange(len(batch.words), device=last.device)[:, None].expand_as(batch.words)
        words = batch.words
        if packing is not None:
            sequences, words = packing.whole.pack(sequences), packing.whole.pack(words)
        here = words != NO_PLACE
        sequences, inputs = sequences[here], self._given(last[here])
        if self.head.choices is not None:
            return self._of_choices(inputs, words[here], sequences, batch)
        decoder = self.decoder if self.answers is None else self.decoder.of_words(self.answers)
        scores = decoder(inputs)
        return scores.new_zeros(len(batch), scores.shape[1]).index_copy(0, sequences, scores)

    def _of_choices(self, inputs: Tensor, words: Tensor, sequences: Tensor, batch: Batch) -> Tensor:
        """The score of each sequence, (B, K)."""
        known = words.clamp(min=0)[:, None]  # all of them, but where a place is only timed
        likely = self.decoder(inputs).log_softmax(dim=-1).gather(1, known)[:, 0]
        counts = torch.bincount(sequences, minlength=len(batch.input_ids))
        found = likely.new_zeros(len(counts)).index_add(0, sequences, likely)
        found = found / counts.clamp(min=1).to(found.dtype) ** self.head.length_penalty
        return found.masked_fill(counts == 0, ABSENT).view(len(batch), batch.choices)


def _normed(head: Any, hidden: Tensor) -> Tensor:
    found: Tensor = head.LayerNorm(head.activation(head.dense(hidden)))
    return found
