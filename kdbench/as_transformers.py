"""A model of ours, called as those of transformers are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbench.data.batch import Batch
from kdbench.error import KdbenchError
from kdbench.model import Model
from kdbench.outputs import Taps


@dataclass(frozen=True)
class Answer:
    """What is said of rows, under the names that transformers uses.

    Attributes:
        logits: (B, C), or (B, K) of rows that choose; of a model that tells words, the scores of all at every token,
            (B, S, V).
        start_logits, end_logits: of spans, (B, S) each, in the place of the logits.
    """

    logits: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        found = getattr(self, name)
        assert isinstance(found, Tensor)
        return found


class AsTransformers(nn.Module):
    """Takes what a tokenizer of transformers gives, and nothing of kdbench's.

    Args:
        model: any student.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool = True,
    ) -> Answer:
        """The answer to rows of tokens, int64, (B, S), or (B, K, S) of rows that are K sequences; no mask means that
        no token is padding, no types that all are of a first text. `return_dict` is for those who call transformers
        too.

        Raises:
            KdbenchError: no types for a model that reads two texts apart, which it would read as one.
        """
        if token_type_ids is None and self.model.reads_texts_apart:
            raise KdbenchError(
                "token_type_ids=None: this student reads two texts apart, and nothing says which tokens are whose: "
                "give it what its own tokenizer returns, or call yours with return_token_type_ids=True"
            )
        ids = input_ids.flatten(0, -2)
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask.flatten(0, -2)
        types = torch.zeros_like(ids) if token_type_ids is None else token_type_ids.flatten(0, -2)
        index = torch.arange(len(input_ids), device=ids.device)
        shape = self.model.shape
        words = shape.decoder_width > 0
        batch = Batch(ids, mask.bool(), types, torch.full_like(index, -1), index)
        outputs = self.model(batch, Taps(logits=not words, decoder_inputs=words))
        if words:
            return Answer(outputs.decoder(outputs.decoder_inputs))
        if shape.spans:
            return Answer(start_logits=outputs.logits[:, 0], end_logits=outputs.logits[:, 1])
        return Answer(outputs.logits)
