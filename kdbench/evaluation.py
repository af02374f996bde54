"""A finished student on a split of any data set of the same labels: predictions, metrics, agreement, submission."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kdbench.data.span import credits_of, words_of
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenised
from kdbench.error import KdbenchError
from kdbench.finished_run import FinishedRun
from kdbench.module.predictions import gold, predictions, scores
from kdbench.ood import OodSet, evaluate_elsewhere, ood_sets, rows_of_set
from kdbench.quiet import quiet_libraries
from kdbench.record import agreement
from kdbench.store import write_json
from kdbench.submission import check_submission, write_submission

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked of a finished run. `data` is a `data` node, None for the run's own; `ood` the node of that name."""

    data: Mapping[str, Any] | None
    data_root: Path
    split: str = "validation"
    batch_size: int = 64
    device: str = "cpu"
    agreement: bool = True
    submission: bool = False
    ood: Mapping[str, Any] = field(default_factory=dict)


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
    logits = _predictions(run, run.student(), split, request)
    taught = _predictions(run, run.teacher(), split, request) if request.agreement else None
    found = {
        "run": run.signature,
        "data": task.name,
        "split": request.split,
        "rows": len(split) if split.questions is None else len(split.questions.texts),
        "metrics": _metrics(task, request.split, split, logits),
        "agreement": None if taught is None else agreement(logits, taught, task.kind),
        "teacher_metrics": {} if taught is None else _metrics(task, request.split, split, taught),
    }
    source = (request.data or run.record["config"]["data"])["source"]
    if sets := ood_sets(request.ood, run.task, source, run.record["config"]["student"]):
        found["ood"] = _elsewhere(run, request, sets)
    if not found["metrics"]:
        log.warning("no row of the split %s of %s has a label: there are predictions, but no metrics", request.split,
                    task.name)  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        _table(run, task, split, logits, taught).to_parquet(out / "predictions.parquet", index=False)
        write_json(out / "metrics.json", found)
        if request.submission:
            path = write_submission(out, task.name, request.split, split.index, _decided(task, logits), task.labels)
            log.info("for GLUE's leaderboard: %s", path)
    except OSError as error:
        raise KdbenchError(f"out={out} cannot be written ({error.strerror or error}): choose another folder") from error
    return found


def _elsewhere(run: FinishedRun, request: Request, sets: list[OodSet]) -> dict[str, Any]:
    models = {"metrics": run.student(), **({"teacher_metrics": run.teacher()} if request.agreement else {})}
    read = partial(_rows_of_set, run, request)
    return evaluate_elsewhere(sets, models, lambda model, rows: _predictions(run, model, rows, request), read)


def _rows_of_set(run: FinishedRun, request: Request, each: OodSet) -> Split:
    return rows_of_set(each, run.store, request.data_root, run.tokenizer_folder)


def _same_texts(run: FinishedRun, task: Task, texts: int) -> None:
    """Refuse single texts of a student that reads two texts apart, and pairs of one that never did."""
    if run.record["config"]["student"].get("pair", "joint") != "joint":
        raise KdbenchError(
            f"data={task.name} has {len(task.text)} texts a row, and the student of run {run.signature} reads {texts}: "
            "choose data with as many, or a student with student.pair=joint"
        )


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
    asked, known = task.head(run.tokenizer), run.task.head(run.tokenizer)
    if getattr(asked, "texts", 1) != getattr(known, "texts", 1):
        _same_texts(run, task, len(run.task.text))
        asked = known if type(asked) is type(known) else asked
    if asked != known:
        answers = "in words" if run.task.tells_words else "by a score of each class"
        raise KdbenchError(
            f"data={task.name} with data.format={data.get('format', 'head')} asks for another answer than that of run "
            f"{run.signature}, whose student answers {answers}: set data.format={own.get('format', 'head')} and "
            "data.cloze as in that run"
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
    if task.is_corpus and request.split == "train":
        raise KdbenchError("split=train of a corpus hides other words in every epoch: choose validation or test")
    if data != own:  # of other data only what is asked for is read and tokenised, and it must be there
        data |= {"splits": {request.split: task.splits[request.split]}, "optional": []}
    splits = tokenised(run.store, data, request.data_root, run.tokenizer_folder)
    if request.split not in splits:
        raise KdbenchError(f"split={request.split} is not in the source of {task.name}, which has {', '.join(splits)}")
    return task, splits[request.split]


def _labels(task: Task) -> str:
    if task.is_corpus:
        return "no labels but its words"
    if task.kind == "span":
        return "spans of a text for answers"
    return f"the labels {', '.join(task.labels)}" if task.kind == "classification" else "numbers for labels"


def _predictions(run: FinishedRun, model: Any, split: Split, request: Request) -> np.ndarray:
    padding_id = run.tokenizer.pad_token_id
    return predictions(run.task, model.to(request.device), split, request.batch_size, padding_id, request.device)


def _metrics(task: Task, name: str, split: Split, logits: np.ndarray) -> dict[str, float]:
    if not task.is_corpus and not split.labelled.any():
        return {}
    return {f"{name}/{key}": value for key, value in scores(task, split, logits).items()}


def _decided(task: Task, logits: np.ndarray) -> np.ndarray:
    """What a model says: class ids, or the values of a regression, (N,)."""
    return np.asarray(logits.argmax(axis=1) if task.kind == "classification" else logits[:, 0])


def _words(run: FinishedRun, split: Split, told: np.ndarray, taught: np.ndarray | None) -> Any:
    """One row a place of the corpus, in its order: the word that stood there and those that were told."""
    import pandas as pd

    columns = {"word": run.tokenizer.convert_ids_to_tokens(gold(run.task, split).tolist())}
    for name, found in (("student", told), ("teacher", taught)):
        if found is not None:
            columns[name] = run.tokenizer.convert_ids_to_tokens(found[:, 0].astype(int).tolist())
            columns[f"{name}_surprise"] = found[:, 1]
    return pd.DataFrame(columns)


def _answers(split: Split, said: np.ndarray, taught: np.ndarray | None) -> Any:
    """One row a question: the answers, and what they are worth, null where nobody says which is right."""
    import pandas as pd

    questions = split.questions
    assert questions is not None
    right = [None if answers is None else list(answers) for answers in questions.answers]
    columns: dict[str, Any] = {"index": questions.index, "answers": right}
    for name, found in (("prediction", said), ("teacher_prediction", taught)):
        if found is not None:
            columns[name] = words_of(questions, found)
    credits = credits_of(questions, said)
    columns |= {"answer_exact_match": credits[:, 0], "answer_f1": credits[:, 1], "no_answer_margin": said[:, 2]}
    return pd.DataFrame(columns)


def _table(run: FinishedRun, task: Task, split: Split, logits: np.ndarray, taught: np.ndarray | None) -> Any:
    """What predictions.parquet holds, in the split's order."""
    if task.is_corpus:
        return _words(run, split, logits, taught)
    return _answers(split, logits, taught) if task.kind == "span" else _classes(task, split, logits, taught)


def _classes(task: Task, split: Split, logits: np.ndarray, taught: np.ndarray | None) -> Any:
    """One row a row of the split; a class is given by its id, and a missing label is null."""
    import pandas as pd
    from scipy.special import softmax

    labels = pd.array(np.asarray(split.labels), dtype="Int64" if task.kind == "classification" else "Float32")
    labels[~split.labelled] = pd.NA
    columns: dict[str, Any] = {"index": np.asarray(split.index), "label": labels, "prediction": _decided(task, logits)}
    if task.kind == "classification":
        shares = softmax(logits, axis=1)
        columns |= {f"logit_{name}": logits[:, place] for place, name in enumerate(task.labels)}
        columns |= {f"probability_{name}": shares[:, place] for place, name in enumerate(task.labels)}
    if taught is not None:
        columns["teacher_prediction"] = _decided(task, taught)
    return pd.DataFrame(columns)
