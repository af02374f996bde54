"""An encoder that reads an answer out of a text: SQuAD's head (Devlin et al. 2019, section 4.2)."""

from __future__ import annotations

from typing import Any

from kdbench.data.batch import Batch
from kdbench.encoder.base import Body, Encoder, shape_of
from kdbench.head import ABSENT
from kdbench.outputs import Taps
from kdbench.packing import Packing
from kdbench.shape import Shape, of_spans


class SpanReader(Encoder):
    """Logits (B, 2, S): of every token as the first and as the last one of the answer; padding is never either."""

    @property
    def shape(self) -> Shape:
        return of_spans(shape_of(self.model, 2))

    def answer(
        self, batch: Batch, packing: Packing | None, options: dict[str, Any], taps: Taps
    ) -> tuple[Body, dict[str, Any]]:
        last, body = self.run_layers(batch, packing, options)
        if not taps.logits:
            return body, {}
        scores = body.whole(self.model.qa_outputs(last)).transpose(1, 2)
        return body, {"logits": scores.masked_fill(~batch.attention_mask[:, None], ABSENT)}
