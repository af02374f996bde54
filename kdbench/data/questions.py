"""Questions whose answer is a span of a text: what is read of a table, and kept beside the windows to score answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kdbench.data.rows import capped, check_columns, texts_of_column
from kdbench.data.source import Table
from kdbench.data.span import targets, windows
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.error import KdbenchError


@dataclass(frozen=True)
class Questions:
    """Q questions.

    Attributes:
        index: the place of each in its source, (Q,).
        texts: that each is asked of.
        answers: the right ones of each; none where it has no answer, None where nobody says.
        starts: the first character of the first of them, (Q,); 0 where there is none.
    """

    index: np.ndarray
    texts: tuple[str, ...]
    answers: tuple[tuple[str, ...] | None, ...]
    starts: np.ndarray

    def save(self, path: Path) -> None:
        """Write one parquet file, in which a text that many ask of stands once."""
        import pandas as pd

        columns = {"index": self.index, "text": self.texts, "answers": self.answers, "start": self.starts}
        pd.DataFrame(columns).to_parquet(path, index=False)

    @classmethod
    def load(cls, path: Path) -> Questions:
        """Read what `save` wrote."""
        import pandas as pd

        frame = pd.read_parquet(path)
        answers = tuple(None if right is None else tuple(map(str, right)) for right in frame["answers"])
        return cls(frame["index"].to_numpy(), tuple(frame["text"]), answers, frame["start"].to_numpy())


def rows_of_questions(task: Task, split: str, table: Table, tokenizer: Any) -> Split:
    """The windows of a split's questions, with what is needed to score their answers.

    Raises:
        KdbenchError: a column that is not there or not as SQuAD has it, or an answer that does not stand in its text.
    """
    frame = table.frame
    asked, told = task.text
    check_columns(task, split, frame, {"data.text": [asked, told], "data.label": [task.label] if task.label else []})
    listed = list(frame[task.label]) if task.label else [None] * len(frame)
    answers = [_answers(task, split, row, value) for row, value in enumerate(listed)]
    index = np.arange(len(frame), dtype=np.int64)
    if split == "train" and not task.unlabelled:
        index = index[[right is not None for right, _ in answers]]
    if len(index) == 0:
        hint = "; data.unlabelled=true keeps those without an answer, for distillation" if len(frame) else ""
        raise KdbenchError(f"{task.name}, split {split}: there are no questions{' with an answer' * bool(hint)}{hint}")
    index = capped(task, split, index)
    kept = frame.iloc[index]
    texts = texts_of_column(task, split, kept[told], index)
    questions = Questions(
        index,
        tuple(texts),
        tuple(answers[row][0] for row in index),
        np.array([answers[row][1] for row in index], dtype=np.int64),
    )
    _check_starts(task, split, questions)
    found = windows(tokenizer, texts_of_column(task, split, kept[asked], index), texts, task.max_length, task.stride)
    return replace(found, labels=targets(found, questions), questions=questions)


def _answers(task: Task, split: str, row: int, value: Any) -> tuple[tuple[str, ...] | None, int]:
    """The right answers of a row and where the first begins; None where nobody says."""
    if value is None or value != value:  # of a column that only some rows have the rest is NaN
        return None, 0
    found = value if isinstance(value, Mapping) else {}
    words: Any = found.get("text")
    starts: Any = found.get("answer_start")
    if not (_all(words, str) and _all(starts, int | np.integer) and len(words) == len(starts)):
        raise KdbenchError(
            f"{task.name}, split {split}: row {row} has the answers {str(value)[:80]!r}, which must be "
            "{text: [strings], answer_start: [whole numbers]}, as many of the one as of the other: correct the row, or "
            "data.label"
        )
    if len(words) == 0:
        return ((), 0) if task.unanswerable else (None, 0)
    return tuple(map(str, words)), int(starts[0])


def _all(values: Any, kind: Any) -> bool:
    """Whether these are a list of that kind."""
    return isinstance(values, list | tuple | np.ndarray) and all(
        isinstance(value, kind) and not isinstance(value, bool) and value != "" for value in values
    )


def _check_starts(task: Task, split: str, questions: Questions) -> None:
    """Refuse an answer that is not where it is said to be: a reader would learn to point beside it."""
    for row, text, right, start in zip(
        questions.index, questions.texts, questions.answers, questions.starts, strict=True
    ):
        if right and not (start >= 0 and text.startswith(right[0], start)):
            raise KdbenchError(
                f"{task.name}, split {split}: row {row} has the answer {right[0]!r}, which does not stand at character "
                f"{start} of column {task.text[1]}: correct the row, or leave it out"
            )
