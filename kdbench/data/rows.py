"""From a source's table to the rows a split keeps: texts, labels as numbers, and their places in the source."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.source import Table
from kdbench.data.task import Task
from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """The rows of one split: `texts` has one list of N strings per text column; labels and index are (N,)."""

    texts: list[list[str]]
    labels: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def rows_of(task: Task, split: str, table: Table) -> Rows:
    """Read the columns, check every label, leave out unlabelled training rows unless they are wanted, and cap.

    A cap keeps a random subset by `data.seed`, in the source's order; a larger cap's subset holds a smaller one's.
    """
    frame = table.frame
    wanted = [*task.text, *([task.label] if task.label is not None else [])]
    if missing := [column for column in wanted if column not in frame.columns]:
        there = ", ".join(str(column) for column in frame.columns)
        raise KdbenchError(
            f"{task.name}, split {split}: there is no column {missing[0]}, the columns are {there}: "
            "correct data.text or data.label"
        )
    labels = _labels(task, split, table)
    index = np.arange(len(frame), dtype=np.int64)
    if split == "train" and not task.unlabelled:
        index = index[~np.isnan(labels) if task.kind == "regression" else labels >= 0]
    if len(index) == 0:
        hint = "; data.unlabelled=true keeps rows without a label, for distillation" if len(frame) else ""
        raise KdbenchError(f"{task.name}, split {split}: there are no examples{' with a label' * bool(hint)}{hint}")
    cap = task.rows(split)
    if cap is not None and cap < len(index):
        random = np.random.default_rng([task.seed, zlib.crc32(split.encode())])
        index = np.sort(random.permutation(index)[:cap])
    texts = [_texts(task, split, frame[column].iloc[index], index) for column in task.text]
    return Rows(texts, labels[index], index)


def _texts(task: Task, split: str, column: pd.Series, index: np.ndarray) -> list[str]:
    empty = column.isna().to_numpy()
    if empty.any():
        row = index[int(empty.argmax())]
        raise KdbenchError(f"{task.name}, split {split}: row {row} has no text in column {column.name}: remove the row")
    return [str(value) for value in column]


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
    if task.kind == "classification" and name in task.labels:
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
    if number == -1:
        return -1.0
    return number if number in range(len(task.labels)) else None
