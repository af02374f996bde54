"""A matrix embedding under a head, as a model of kdbench."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdbench import pooling
from kdbench.cmow.classifier.base import FeatureClassifier
from kdbench.cmow.encoder import MatrixEncoder
from kdbench.cmow.pair import COSINE, JOINT, PAIRS, texts_of
from kdbench.data.batch import Batch
from kdbench.decoder import Decoder
from kdbench.head import ABSENT, WordHead
from kdbench.model import Model, own_weights
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.student_folder import WEIGHTS
from kdbench.word_answers import places_of, word_answers

BODY = "body."
"""How the names of the weights of the encoder begin; all others are of a head."""


class MatrixModel(Model):
    """A `MatrixEncoder` and what its data asks for: scores of classes or of choices, of spans, or of words.

    It is one layer deep: hidden state 0 is a token's embedding, 1 what it says of the words around it, of all that a
    row has, its two texts as one.

    Args:
        body: of any layout.
        shape: of the whole.
        dropout: of what a head is given.
    """

    def __init__(self, body: MatrixEncoder, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.body, self.dropout = body, nn.Dropout(dropout)
        self._shape = shape

    @property
    def shape(self) -> Shape:
        return self._shape

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        ids, mask = batch.input_ids, batch.attention_mask
        read = taps.hidden | taps.cls | taps.mean
        states = {0: self.body.alone(ids)} if 0 in read else {}
        if 1 in read or self.reads_states(taps):
            states[1] = self.body.states(ids, mask)
        return ModelOutputs(
            mask=mask,
            labels=batch.labels,
            words=batch.words,
            hidden={layer: states[layer] for layer in taps.hidden},
            cls={layer: pooling.first(states[layer]) for layer in taps.cls},
            mean={layer: pooling.mean(states[layer], mask) for layer in taps.mean},
            **(self.answer(batch, states.get(1), taps) if taps.head else {}),
        )

    @abstractmethod
    def reads_states(self, taps: Taps) -> bool:
        """Whether the head reads the states of all tokens of a row."""

    @abstractmethod
    def answer(self, batch: Batch, states: Tensor | None, taps: Taps) -> dict[str, Any]:
        """What the head says, as fields of `ModelOutputs`."""

    def of_head(self, name: str) -> bool:
        return not name.startswith(BODY)

    def save(self, folder: Path) -> None:
        save_file(own_weights(self), folder / WEIGHTS)


class MatrixClassifier(MatrixModel):
    """Scores of classes, the value of a regression, or a score for each of a row's choices.

    Args:
        body, shape, dropout: see `MatrixModel`.
        classifier: from features to scores.
        pair: how two texts that are read apart become one; `joint` reads what a row has as one sequence. A cosine is
            never dropped.
        choices: the sequences of a row, each of which has one score.
    """

    def __init__(
        self,
        body: MatrixEncoder,
        shape: Shape,
        dropout: float,
        classifier: FeatureClassifier,
        pair: str = JOINT,
        choices: int = 1,
    ) -> None:
        super().__init__(body, shape, 0.0 if pair == COSINE else dropout)  # of its one number nothing would be left
        self.classifier, self.pair, self.choices = classifier, pair, choices

    @property
    def reads_types(self) -> bool:
        return self.reads_texts_apart

    @property
    def reads_texts_apart(self) -> bool:
        return self.pair != JOINT

    def reads_states(self, taps: Taps) -> bool:
        return False

    def answer(self, batch: Batch, states: Tensor | None, taps: Taps) -> dict[str, Any]:
        if self.pair == JOINT:
            features = self._read(batch.input_ids, batch.attention_mask)
        else:
            padding = self.body.padding_id if self.body.released else None
            features = PAIRS[self.pair](*(self._read(*text) for text in texts_of(batch, padding)))
        logits = self.classifier(self.dropout(features))
        if self.choices == 1:
            return {"logits": logits}
        absent = batch.attention_mask.sum(dim=1) < 2
        return {"logits": logits.view(len(batch), -1).masked_fill(absent.view(len(batch), -1), ABSENT)}

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.classifier.of_tokens:
            return self.classifier.read(self.body.states(ids, mask), mask)
        found: Tensor = self.body(ids, mask)
        return found


class MatrixSpanReader(MatrixModel):
    """Logits (B, 2, S): of every token as the first and as the last one of the answer; padding is never either."""

    def __init__(self, body: MatrixEncoder, shape: Shape, dropout: float) -> None:
        super().__init__(body, shape, dropout)
        self.spans = nn.Linear(body.layout.state, 2)

    def reads_states(self, taps: Taps) -> bool:
        return taps.head

    def answer(self, batch: Batch, states: Tensor | None, taps: Taps) -> dict[str, Any]:
        assert states is not None
        scores = self.spans(self.dropout(states)).transpose(1, 2)
        return {"logits": scores.masked_fill(~batch.attention_mask[:, None], ABSENT)}


class MatrixWordPredictor(MatrixModel):
    """Scores of all words from a token's state, by a table that is not the embedding's (Galke et al. 2022).

    Args:
        body, shape, dropout: see `MatrixModel`.
        words: V.
        head: with the answers, by their rows in this model's vocabulary.
    """

    answers: Tensor | None

    def __init__(
        self,
        body: MatrixEncoder,
        shape: Shape,
        dropout: float,
        words: int,
        head: WordHead,
    ) -> None:
        super().__init__(body, shape, dropout)
        self.head, self.scores = head, nn.Linear(body.layout.state, words)
        self.register_buffer("answers", torch.tensor(head.answers) if head.answers else None, persistent=False)
        self._decoder: Decoder | None = None

    @property
    def decoder(self) -> Decoder:
        if self._decoder is None or self._decoder.weight is not self.scores.weight:
            self._decoder = Decoder(self.scores.weight, self.scores.bias)
        return self._decoder

    def reads_states(self, taps: Taps) -> bool:
        return taps.head

    def answer(self, batch: Batch, states: Tensor | None, taps: Taps) -> dict[str, Any]:
        assert states is not None
        inputs = self.dropout(states)
        fields: dict[str, Any] = {"decoder_inputs": inputs, "decoder": self.decoder} if taps.decoder_inputs else {}
        if taps.logits:
            assert batch.words is not None, "a batch without places has no word to be told"
            here, rows = places_of(batch.words)
            places = inputs[here], batch.words[here], rows[here]
            fields["logits"] = word_answers(self.head, self.answers, self.decoder, *places, batch)
        return fields
