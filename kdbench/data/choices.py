"""The answers that a row is to choose between."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd

    from kdbench.data.task import Task

Choices = list[str | None]


def choices_of(task: Task, split: str, frame: pd.DataFrame) -> tuple[Choices | None, np.ndarray | None]:
    """The answers of all rows, K a row with None for those that a row has fewer, and what each is worth, (N, K, 2).

    Only answers that are listed in one column are worth something by their words; of others the label says all.

    Raises:
        KdbenchError: a row with more answers than the task has labels.
    """
    if not task.chooses:
        return None, None
    if task.choice_list is None:
        return [str(row) for rows in zip(*(frame[name] for name in task.choices), strict=True) for row in rows], None
    found: Choices = []
    credits = np.zeros((len(frame), len(task.labels), 2), dtype=np.float32)
    for place, (listed, right) in enumerate(zip(frame[task.choice_list], _right(task, frame), strict=True)):
        if len(listed) > len(task.labels):
            raise KdbenchError(
                f"{task.name}, split {split}: row {frame.index[place]} has {len(listed)} choices, more than the "
                f"{len(task.labels)} of data.most_choices: raise it"
            )
        found += [*map(str, listed), *[None] * (len(task.labels) - len(listed))]
        for number, choice in enumerate(listed):
            credits[place, number] = exact_match(choice, right), word_f1(choice, right)
    return found, credits


def right_choices(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """The first listed answer that is right, (N,); -1 where none is."""
    found = np.full(len(frame), -1, dtype=np.int64)
    for place, (listed, right) in enumerate(zip(frame[task.choice_list], _right(task, frame), strict=True)):
        found[place] = next((number for number, choice in enumerate(listed) if exact_match(choice, right)), -1)
    return found


def _right(task: Task, frame: pd.DataFrame) -> list[list[str]]:
    """The right answers of each row; none where nothing is labelled."""
    if task.label is None:
        return [[] for _ in range(len(frame))]
    return [[str(answer) for answer in (answers if answers is not None else [])] for answers in frame[task.label]]


def exact_match(answer: str, right: Sequence[str]) -> float:
    """Whether an answer is one of the right ones, but for case, punctuation and articles (Rajpurkar et al. 2016)."""
    return float(any(words_in(answer) == words_in(each) for each in right))


def word_f1(answer: str, right: Sequence[str]) -> float:
    """The F1 of the words that an answer has in common with the right one that is nearest to it."""
    return max((word_overlap(words_in(answer), words_in(each)) for each in right), default=0.0)


def word_overlap(words: list[str], right: list[str]) -> float:
    """The F1 of the words of two answers; 0 where they share none."""
    common = sum((Counter(words) & Counter(right)).values())
    return 2 * common / (len(words) + len(right)) if common else 0.0


def words_in(text: str) -> list[str]:
    """The words of an answer that count, in small letters: no articles, no punctuation."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()
