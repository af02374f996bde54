"""A finished student on a split of any data set of the same labels: predictions, metrics, agreement, submission."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdbench import metric
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenised
from kdbench.error import KdbenchError
from kdbench.finished_run import FinishedRun
from kdbench.module.predict import predict
from kdbench.quiet import quiet_libraries
from kdbench.record import agreement
from kdbench.store import write_json
from kdbench.submission import check_submission, write_submission

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked of a finished run. `data` is a `data` node, None for the run's own."""

    data: Mapping[str, Any] | None
    data_root: Path
    split: str = "validation"
    batch_size: int = 64
    device: str = "cpu"
    agreement: bool = True
    submission: bool = False


def evaluate_run(run: FinishedRun, request: Request, out: Path) -> dict[str, Any]:
    """Write predictions.parquet and metrics.json to `out` (and a submission file), and return what metrics.json holds.

    `metrics` of the student and `teacher_metrics` are empty where no row of the split is labelled. `agreement` is the
    share of rows on which student and teacher choose the same class, of a regression Pearson's r; null if unasked.

    Raises:
        KdbenchError: other labels than the run's, no such split, or what `write_submission` refuses.
    """
    quiet_libraries()
    if not isinstance(request.batch_size, int) or request.batch_size < 1:
        raise KdbenchError(f"batch_size={request.batch_size} must be a whole number of at least 1")
    task, split = _rows(run, request)
    if request.submission:
        check_submission(task.name, request.split, split.index, task.labels)
    logits = _logits(run, run.student(), split, request)
    taught = _logits(run, run.teacher(), split, request) if request.agreement else None
    found = {
        "run": run.signature,
        "data": task.name,
        "split": request.split,
        "rows": len(split),
        "metrics": _metrics(task, request.split, split, logits),
        "agreement": None if taught is None else agreement(logits, taught),
        "teacher_metrics": {} if taught is None else _metrics(task, request.split, split, taught),
    }
    if not found["metrics"]:
        log.warning("no row of the split %s of %s has a label: there are predictions, but no metrics", request.split,
                    task.name)  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        _table(task, split, logits, taught).to_parquet(out / "predictions.parquet", index=False)
        write_json(out / "metrics.json", found)
        if request.submission:
            path = write_submission(out, task.name, request.split, split.index, _decided(task, logits), task.labels)
            log.info("for GLUE's leaderboard: %s", path)
    except OSError as error:
        raise KdbenchError(f"out={out} cannot be written ({error.strerror or error}): choose another folder") from error
    return found


def _rows(run: FinishedRun, request: Request) -> tuple[Task, Split]:
    """The task and the rows that are asked for, tokenised for the student."""
    own = run.record["config"]["data"]
    data: dict[str, Any] = dict(request.data) if request.data is not None else dict(own)
    task = Task.from_config(data)
    if (task.kind, task.labels) != (run.task.kind, run.task.labels):
        raise KdbenchError(
            f"data={task.name} has {_labels(task)}, but the student of run {run.signature} was trained on "
            f"{run.task.name} with {_labels(run.task)}: choose data of the same labels, in the same order"
        )
    if request.split not in task.splits:
        raise KdbenchError(
            f"split={request.split} is no split of {task.name}, which has {', '.join(task.splits)}: choose one, or "
            f"name the source's with +data.splits.{request.split}=..."
        )
    if task.max_length > run.positions:
        raise KdbenchError(
            f"data.max_length={task.max_length} is longer than the {run.positions} positions of student or teacher: "
            f"set data.max_length={min(run.positions, run.task.max_length)}"
        )
    if data != own:  # of other data only what is asked for is read and tokenised, and it must be there
        data |= {"splits": {request.split: task.splits[request.split]}, "optional": []}
    splits = tokenised(run.store, data, request.data_root, run.teacher_folder)
    if request.split not in splits:
        raise KdbenchError(f"split={request.split} is not in the source of {task.name}, which has {', '.join(splits)}")
    return task, splits[request.split]


def _labels(task: Task) -> str:
    return f"the labels {', '.join(task.labels)}" if task.kind == "classification" else "numbers for labels"


def _logits(run: FinishedRun, model: Any, split: Split, request: Request) -> np.ndarray:
    return predict(model.to(request.device), split, request.batch_size, run.tokenizer.pad_token_id, request.device)


def _labelled(split: Split) -> np.ndarray:
    """Which rows have a label, (N,)."""
    labels = np.asarray(split.labels)
    return np.asarray(~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0)


def _metrics(task: Task, name: str, split: Split, logits: np.ndarray) -> dict[str, float]:
    if not _labelled(split).any():
        return {}
    found = metric.score(task.metrics, logits, split.labels)
    return {f"{name}/{key}": value for key, value in found.items()}


def _decided(task: Task, logits: np.ndarray) -> np.ndarray:
    """What a model says: class ids, or the values of a regression, (N,)."""
    return np.asarray(logits.argmax(axis=1) if task.kind == "classification" else logits[:, 0])


def _table(task: Task, split: Split, logits: np.ndarray, taught: np.ndarray | None) -> Any:
    """One row a row of the split, in its order; a class is given by its id, and a missing label is null."""
    import pandas as pd
    from scipy.special import softmax

    labels = pd.array(np.asarray(split.labels), dtype="Int64" if task.kind == "classification" else "Float32")
    labels[~_labelled(split)] = pd.NA
    columns: dict[str, Any] = {"index": np.asarray(split.index), "label": labels, "prediction": _decided(task, logits)}
    if task.kind == "classification":
        shares = softmax(logits, axis=1)
        columns |= {f"logit_{name}": logits[:, place] for place, name in enumerate(task.labels)}
        columns |= {f"probability_{name}": shares[:, place] for place, name in enumerate(task.labels)}
    if taught is not None:
        columns["teacher_prediction"] = _decided(task, taught)
    return pd.DataFrame(columns)
