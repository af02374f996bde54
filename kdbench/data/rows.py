"""From a source's table to the rows a split keeps: texts, labels as numbers, and their places in the source."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.choices import choices_of, right_choices
from kdbench.data.prompt import CHOICE, FIELD
from kdbench.data.source import Table
from kdbench.data.task import Task
from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """The rows of one split, N of them, with K sequences each.

    Attributes:
        columns: the strings of each column that the task's texts name, N K of them.
        choices: the answer of each sequence, N K of them, None for one that its row does not have; None without any.
        labels, index: (N,).
        groups: the question of each row, (N,); None where each is its own.
        credits: exact match and F1 of each answer, (N, K, 2); None where there are none.
    """

    columns: dict[str, list[str]]
    choices: list[str | None] | None
    labels: np.ndarray
    index: np.ndarray
    groups: np.ndarray | None = None
    credits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.index)

    def texts(self, template: str) -> list[str]:
        """A text of the task for every sequence: a column, or a text with columns in braces."""
        if "{" not in template:
            return self.columns[template]
        names = named(template)
        values = [self.choice_words if name == CHOICE else self.columns[name] for name in names]
        return [template.format(**dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]

    @property
    def choice_words(self) -> list[str]:
        """The answer of each sequence, empty for one that is absent."""
        return [choice or "" for choice in self.choices or []]


def capped(task: Task, split: str, index: np.ndarray) -> np.ndarray:
    """No more rows than the split's cap: a random subset by the data's seed, in order; a larger cap's holds it."""
    cap = task.rows(split)
    if cap is None or cap >= len(index):
        return index
    random = np.random.default_rng([task.seed, zlib.crc32(split.encode())])
    return np.sort(random.permutation(index)[:cap])


def named(template: str) -> list[str]:
    """The names in braces of a text, or the text itself if it has none: then it is a column."""
    return list(dict.fromkeys(FIELD.findall(template))) if "{" in template else [template]


def rows_of(task: Task, split: str, table: Table) -> Rows:
    """Read the columns, check every label, leave out unlabelled training rows unless they are wanted, and cap.

    A cap keeps a random subset by `data.seed`, in the source's order; a larger cap's subset holds a smaller one's.
    """
    frame = _with_gaps(task, table.frame)
    table = Table(frame, table.classes)
    read = _columns_read(task)
    check_columns(task, split, frame, _wanted(task, read))
    labels = _labels(task, split, table)
    index = np.arange(len(frame), dtype=np.int64)
    if split == "train" and not task.unlabelled:
        index = index[~np.isnan(labels) if task.kind == "regression" else labels >= 0]
    if len(index) == 0:
        hint = "; data.unlabelled=true keeps rows without a label, for distillation" if len(frame) else ""
        raise KdbenchError(f"{task.name}, split {split}: there are no examples{' with a label' * bool(hint)}{hint}")
    index = capped(task, split, index)
    kept = frame.iloc[index]
    columns = {column: texts_of_column(task, split, kept[column], index) for column in read}
    choices, credits = choices_of(task, split, kept)
    if choices is not None:
        columns = {name: [text for text in texts for _ in task.labels] for name, texts in columns.items()}
    return Rows(columns, choices, labels[index], index, _groups(task, kept), credits)


def _wanted(task: Task, read: list[str]) -> dict[str, list[str]]:
    """The columns that a task needs, by the key that names them."""
    return {
        "data.text" if task.cloze is None else "data.cloze.prompt": read,
        "data.choices": [*task.choices, *([task.choice_list] if task.choice_list else [])],
        "data.label": [] if task.label is None else [task.label],
        "data.group": [column.partition(".")[0] for column in task.group],
        "data.maps": list(task.maps),
        "data.gaps": list(task.gaps),
    }


def check_columns(task: Task, split: str, frame: pd.DataFrame, wanted: Mapping[str, list[str]]) -> None:
    """Refuse a column that is not there by the key that names it."""
    for key, columns in wanted.items():
        if missing := [column for column in columns if column not in frame.columns]:
            there = ", ".join(str(column) for column in frame.columns)
            raise KdbenchError(
                f"{task.name}, split {split}: there is no column {missing[0]}, the columns are {there}: correct {key}"
            )


def _with_gaps(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns, and of those with a gap what stands before and after it."""
    for column, mark in task.gaps.items():
        if column in frame.columns:
            parts = frame[column].str.partition(mark)
            frame = frame.assign(**{f"{column}_before": parts[0], f"{column}_after": parts[2]})
    return frame


def _columns_read(task: Task) -> list[str]:
    """The columns that the task's texts name."""
    names = task.cloze.prompt.columns if task.cloze is not None else [
        name for text in task.text for name in named(text) if name != CHOICE
    ]  # fmt: skip
    return list(dict.fromkeys(names))


def _groups(task: Task, frame: pd.DataFrame) -> np.ndarray | None:
    """A number for each question, (N,): that of the first row with the same values in `task.group`."""
    if not task.group:
        return None
    columns = []
    for name in task.group:
        column, _, key = name.partition(".")
        try:
            columns.append(frame[column].map(lambda value, key=key: value[key]) if key else frame[column])
        except (KeyError, TypeError) as error:
            raise KdbenchError(
                f"{task.name}: column {column} has no values with a part {key}: correct data.group={list(task.group)}"
            ) from error
    keys = list(zip(*columns, strict=True))
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    return np.array([first[key] for key in keys], dtype=np.int64)


def texts_of_column(task: Task, split: str, column: pd.Series, index: np.ndarray) -> list[str]:
    """The strings of a column, (N,), whose rows have these places in the source.

    Raises:
        KdbenchError: a row without a text, or a value that `data.maps` has no word for.
    """
    empty = column.isna().to_numpy()
    if empty.any():
        row = index[int(empty.argmax())]
        raise KdbenchError(f"{task.name}, split {split}: row {row} has no text in column {column.name}: remove the row")
    meaning = task.maps.get(str(column.name))
    if meaning is None:
        return [str(value) for value in column]
    if unknown := set(column) - set(meaning):
        raise KdbenchError(
            f"{task.name}, split {split}: column {column.name} has the value {min(map(str, unknown))!r}, which "
            f"data.maps.{column.name} has no word for: add it"
        )
    return [str(meaning[value]) for value in column]


def _labels(task: Task, split: str, table: Table) -> np.ndarray:
    """Labels as numbers, (N,): int64 with -1 for none, or float32 with NaN for none."""
    none = math.nan if task.kind == "regression" else -1
    kind = np.float32 if task.kind == "regression" else np.int64
    if task.label is None:
        return np.full(len(table.frame), none, dtype=kind)
    declared = table.classes.get(task.label)
    if task.kind == "classification" and declared is not None and declared != task.labels:
        raise KdbenchError(
            f"{task.name}, split {split}: data.labels={list(task.labels)} but the source's classes are {list(declared)}"
            ": write them in data.labels in this order"
        )
    if task.choice_list is not None:
        return right_choices(task, table.frame)
    column = table.frame[task.label]
    if column.dtype == object:  # a wrong column may hold lists, which cannot be looked up and mean nothing either
        column = column.map(lambda value: str(value) if isinstance(value, list | dict | np.ndarray) else value)
    meaning: dict[Any, float | None] = {value: _number(task, value) for value in column.dropna().unique().tolist()}
    bad = [value for value, number in meaning.items() if number is None]
    if bad:
        row = int((column == bad[0]).to_numpy().argmax())
        allowed = (
            f"a number{f' from {task.range[0]:g} to {task.range[1]:g}' if task.range else ''}: correct data.range"
            if task.kind == "regression"
            else f"one of {', '.join(task.labels)} or a number below {len(task.labels)}: correct data.labels"
        )
        raise KdbenchError(f"{task.name}, split {split}: row {row} has the label {bad[0]!r}, which is not {allowed}")
    return column.map(meaning).astype(float).fillna(none).to_numpy().astype(kind)


def _number(task: Task, value: Any) -> float | None:
    """What a label means; None if it means nothing. The name of a class comes before its number."""
    if isinstance(value, str) and not value.strip():
        return math.nan
    name = str(value).strip()
    if task.kind == "classification" and name in task.labels and task.bins is None:
        return float(task.labels.index(name))
    try:
        number = float(value)
    except ValueError:
        return None
    if math.isnan(number) or number == task.hidden_label:
        return math.nan
    if task.kind == "regression":
        low, high = task.range or (-math.inf, math.inf)
        return number if low <= number <= high and math.isfinite(number) else None
    if number == -1 and (task.bins is None or task.bins.lowest > -1):
        return -1.0
    if task.bins is not None:
        return float(task.bins.of(number)) if math.isfinite(number) else None
    return number if number in range(len(task.labels)) else None
