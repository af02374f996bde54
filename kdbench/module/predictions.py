"""What a model says of a split, what it is scored against, and its scores."""

from __future__ import annotations

import numpy as np
import torch

from kdbench import metric
from kdbench.data.span import credits_of
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.model import Model
from kdbench.module.predict import predict
from kdbench.module.predict_spans import predict_spans
from kdbench.module.predict_words import gold_words, predict_words


def predictions(
    task: Task, model: Model, split: Split, batch_size: int, padding_id: int, device: torch.device | str
) -> np.ndarray:
    """What a model says of a split.

    Returns:
        A task's logits, (N, C); the answers to Q questions as spans, (Q, 3), see `kdbench.data.span.best_spans`; or the
        word told at each of M places of a corpus and the surprise there, (M, 2).
    """
    if task.kind == "span":
        return predict_spans(model, split, batch_size, padding_id, device, task.unanswerable)
    say = predict_words if task.is_corpus else predict
    return say(model, split, batch_size, padding_id, device)


def gold(task: Task, split: Split) -> np.ndarray:
    """The rows' labels, (N,), or the words that stood at the places, (M,)."""
    return gold_words(split) if task.is_corpus else np.asarray(split.labels)


def scores(task: Task, split: Split, predicted: np.ndarray) -> dict[str, float]:
    """The task's metrics of predictions; raises as `kdbench.metric.score`."""
    if task.kind != "span":
        return metric.score(task.metrics, predicted, gold(task, split), split.groups, split.credits)
    assert split.questions is not None
    credits = credits_of(split.questions, predicted)
    labels = np.where(np.isnan(credits[:, 0]), -1, 0)
    # A question has one answer to choose from: the model's own.
    return metric.score(task.metrics, predicted[:, 2:], labels, credits=credits[:, None])
