"""What a student and its teacher say of the same rows, read from the store: no model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.span import words_of
from kdbench.data.split import Split
from kdbench.finished_run import FinishedRun

if TYPE_CHECKING:
    import pandas as pd

TEXT_LIMIT = 300
"""Characters of a text that are shown."""


def example_table(run: FinishedRun, split: str = "validation", limit: int | None = None) -> pd.DataFrame | None:
    """The rows of a split, those first on which student and teacher are furthest apart.

    Args:
        run: finished; its data must be in the store.
        split: any but train.
        limit: rows at most; None: all.

    Returns:
        Columns `index` (the row's place in its source), `text` (as the student read it, at most `TEXT_LIMIT`
        characters), `label` (None where there is none), `student`, and with a teacher `teacher` and `apart`: of classes
        the total variation of the two distributions, 0 to 1, and the shares that each gave its own choice as
        `student_share` and `teacher_share`; of numbers their distance; of spans 1 where the answers differ. None for a
        corpus, whose rows are no examples, and where the data are no longer there.
    """
    import pandas as pd

    signature = run.record["data"]
    if run.task.is_corpus or not run.store.has("data", signature):
        return None
    rows = Split.load(run.store.path("data", signature), split)
    said = np.load(run.folder / f"predictions.{split}.npy")
    file = None if run.record["teacher"] is None else run.teacher_folder / f"predictions.{split}.npy"
    taught = None if file is None else np.load(file)
    columns = {"span": _spans, "regression": _numbers}.get(run.task.kind, _classes)(run, rows, said, taught)
    apart = columns.get("apart", np.zeros(len(said)))
    chosen = np.argsort(-apart, kind="stable")[:limit]
    found = pd.DataFrame({name: [values[place] for place in chosen] for name, values in columns.items()})
    found.insert(1, "text", [_text(run, rows, int(place)) for place in chosen])
    return found


def confusion(table: pd.DataFrame, labels: tuple[str, ...], by: str = "student") -> np.ndarray:
    """How often a row of each label (down) was given each class (across), (C, C); rows without a label do not count.

    Args:
        table: `example_table` of a classification.
        labels: the classes' names.
        by: who said it, `student` or `teacher`.
    """
    place = {name: number for number, name in enumerate(labels)}
    found = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for label, said in zip(table["label"], table[by], strict=True):
        if label is not None:
            found[place[label], place[said]] += 1
    return found


def _classes(run: FinishedRun, rows: Split, said: np.ndarray, taught: np.ndarray | None) -> dict[str, Any]:
    from scipy.special import softmax

    names = run.task.labels
    labels = [names[label] if label >= 0 else None for label in np.asarray(rows.labels).tolist()]
    columns: dict[str, Any] = {"index": np.asarray(rows.index), "label": labels}
    shares = {"student": softmax(said, axis=1)} | ({} if taught is None else {"teacher": softmax(taught, axis=1)})
    for name, found in shares.items():
        columns[name] = [names[place] for place in found.argmax(axis=1).tolist()]
        columns[f"{name}_share"] = found.max(axis=1)
    if taught is not None:
        columns["apart"] = 0.5 * np.abs(shares["student"] - shares["teacher"]).sum(axis=1)
    return columns


def _numbers(run: FinishedRun, rows: Split, said: np.ndarray, taught: np.ndarray | None) -> dict[str, Any]:
    labels = [None if np.isnan(label) else label for label in np.asarray(rows.labels, dtype=float).tolist()]
    columns: dict[str, Any] = {"index": np.asarray(rows.index), "label": labels, "student": said[:, 0]}
    if taught is not None:
        columns |= {"teacher": taught[:, 0], "apart": np.abs(said[:, 0] - taught[:, 0])}
    return columns


def _spans(run: FinishedRun, rows: Split, said: np.ndarray, taught: np.ndarray | None) -> dict[str, Any]:
    questions = rows.questions
    assert questions is not None
    labels = [None if right is None else " / ".join(dict.fromkeys(right)) for right in questions.answers]
    columns: dict[str, Any] = {"index": questions.index, "label": labels, "student": words_of(questions, said)}
    if taught is not None:
        columns["teacher"] = words_of(questions, taught)
        different = [one != other for one, other in zip(columns["student"], columns["teacher"], strict=True)]
        columns["apart"] = np.array(different, dtype=float)
    return columns


def _text(run: FinishedRun, rows: Split, place: int) -> str:
    """A row's sequences, or the window of a question that comes first, in words."""
    if rows.groups is not None and rows.questions is not None:
        place = int(np.argmax(np.asarray(rows.groups) == place))
    sequences = range(place * rows.choices, (place + 1) * rows.choices)
    texts = [
        run.tokenizer.decode(
            rows.tokens[rows.offsets[each] : rows.offsets[each + 1]].tolist(), skip_special_tokens=True
        )
        for each in sequences
    ]
    found = " | ".join(texts)
    return found if len(found) <= TEXT_LIMIT else f"{found[: TEXT_LIMIT - 1]}…"
