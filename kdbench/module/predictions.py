"""What a model says of a split, in the form that `kdbench.metric.score` takes, and what it is scored against."""

from __future__ import annotations

import numpy as np
import torch

from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.model import Model
from kdbench.module.predict import predict
from kdbench.module.predict_words import gold_words, predict_words


def predictions(
    task: Task, model: Model, split: Split, batch_size: int, padding_id: int, device: torch.device | str
) -> np.ndarray:
    """A task's logits, (N, C), or the word told at each of M places of a corpus and the surprise there, (M, 2)."""
    say = predict_words if task.is_corpus else predict
    return say(model, split, batch_size, padding_id, device)


def gold(task: Task, split: Split) -> np.ndarray:
    """The rows' labels, (N,), or the words that stood at the places, (M,)."""
    return gold_words(split) if task.is_corpus else np.asarray(split.labels)
