"""An encoder under a classification head."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from kdbench.data.batch import Batch
from kdbench.encoder.base import Body, Encoder, shape_of
from kdbench.head import ABSENT
from kdbench.outputs import Taps
from kdbench.packing import Packing
from kdbench.shape import Shape


class Classifier(Encoder):
    """A sequence classifier: a score for each class, or the one value of a regression, from the first token.

    Args:
        model: of transformers.
        choices: of a model for multiple choice, the sequences of a row, each of which has one score.
    """

    def __init__(self, model: PreTrainedModel, choices: int = 1) -> None:
        super().__init__(model)
        self.choices = choices

    @property
    def shape(self) -> Shape:
        return shape_of(self.model, self.choices if self.choices > 1 else self.model.config.num_labels)

    def answer(
        self, batch: Batch, packing: Packing | None, options: dict[str, Any], taps: Taps
    ) -> tuple[Body, dict[str, Any]]:
        if packing is not None:
            last, body = self.run_layers(batch, packing, options)
            # The base model pools the first of all tokens; the head needs the first of every row.
            return body, {"logits": self._of_rows(self.read_out(body.first(last)[:, None]), batch)}
        columns = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self._takes_types:
            columns["token_type_ids"] = batch.token_type_ids
        if self.choices > 1:  # transformers wants the sequences of a row together
            columns = {name: values.view(len(batch), self.choices, -1) for name, values in columns.items()}
        raw = self.model(**columns, **options)
        return Body(raw.hidden_states or (), None), {"logits": self._of_rows(raw.logits, batch)}

    def _of_rows(self, logits: Tensor, batch: Batch) -> Tensor:
        """Of a row that is several sequences, the score of each, (B, K): a very low one where there is none."""
        if self.choices == 1:
            return logits
        absent = batch.attention_mask.sum(dim=1) < 2
        return logits.view(len(batch), -1).masked_fill(absent.view(len(batch), -1), ABSENT)

    def read_out(self, hidden: Tensor) -> Tensor:
        pooled = self.model.dropout(self.model.base_model.pooler(hidden))
        logits: Tensor = self.model.classifier(pooled)
        return logits
