"""Predictions of a model over a split."""

from __future__ import annotations

import numpy as np
import torch

from kdbench.data.batch import in_order, length_order
from kdbench.data.split import Split
from kdbench.model import Model
from kdbench.outputs import Taps


def predict(model: Model, split: Split, batch_size: int, padding_id: int, device: torch.device | str) -> np.ndarray:
    """The logits (N, C) of every row, in the order of the rows, in float32.

    Runs in evaluation mode without a graph and leaves the model's mode and every random state as they were.
    """
    was_training = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for batch in in_order(split, batch_size, padding_id):
            logits = model(batch.to(device), Taps(logits=True)).logits
            parts.append(logits.float().cpu().numpy())
    model.train(was_training)
    logits_by_length = np.concatenate(parts)
    order = np.concatenate(length_order(split.row_lengths, batch_size))
    found = np.empty_like(logits_by_length)
    found[order] = logits_by_length
    return found
