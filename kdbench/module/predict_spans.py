"""The spans that a model gives as answers to the questions of a split."""

from __future__ import annotations

import numpy as np
import torch

from kdbench.data.batch import in_order, length_order
from kdbench.data.span import best_spans
from kdbench.data.split import Split
from kdbench.model import Model
from kdbench.outputs import Taps


def predict_spans(
    model: Model, split: Split, batch_size: int, padding_id: int, device: torch.device | str, unanswerable: bool
) -> np.ndarray:
    """The answers to the split's Q questions, (Q, 3): see `kdbench.data.span.best_spans`.

    Runs in evaluation mode without a graph and leaves the model's mode and every random state as they were.
    """
    assert split.questions is not None
    was_training = model.training
    model.eval()
    scores: list[np.ndarray] = []
    with torch.inference_mode():
        for batch in in_order(split, batch_size, padding_id):
            logits = model(batch.to(device), Taps(logits=True)).logits
            assert logits is not None
            lengths = batch.attention_mask.sum(dim=1).tolist()
            pairs = zip(logits.float().cpu().numpy(), lengths, strict=True)
            scores += [row[:, :length] for row, length in pairs]
    model.train(was_training)
    order = np.concatenate(length_order(split.row_lengths, batch_size))
    by_window = [scores[place] for place in np.argsort(order)]
    return best_spans(split, by_window, len(split.questions.texts), unanswerable)
