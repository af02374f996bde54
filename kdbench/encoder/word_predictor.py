"""An encoder under a vocabulary head: it says which word stands at a place, and answers a task by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from kdbench.data.batch import Batch
from kdbench.decoder import Decoder
from kdbench.encoder.base import Body, Encoder, shape_of
from kdbench.head import WordHead
from kdbench.kronecker.factorise import KroneckerDecoder
from kdbench.outputs import Taps
from kdbench.packing import Packing
from kdbench.shape import Shape
from kdbench.word_answers import places_of, word_answers

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

    A row's places are the tokens that `Batch.words` names; `kdbench.word_answers` says what its logits are.

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
        words = batch.words
        here, rows = places_of(words)
        if packing is not None:
            here, rows, words = packing.whole.pack(here), packing.whole.pack(rows), packing.whole.pack(words)
        inputs = self._given(last[here])
        return word_answers(self.head, self.answers, self.decoder, inputs, words[here], rows[here], batch)


def _normed(head: Any, hidden: Tensor) -> Tensor:
    found: Tensor = head.LayerNorm(head.activation(head.dense(hidden)))
    return found
