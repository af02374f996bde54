"""Texts of a corpus as rows of tokens: joined to the full length, or every text by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdbench.data.rows import capped
from kdbench.data.source import Table
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.error import KdbenchError

CHUNK = 10_000  # texts per call of the tokenizer: bounds the memory, costs no speed


def texts_of(task: Task, split: str, table: Table) -> list[str]:
    """The texts of a split that are not empty, with what the task replaces replaced.

    Raises:
        KdbenchError: no such column, or no text in it.
    """
    (column,) = task.text
    if column not in table.frame.columns:
        there = ", ".join(str(name) for name in table.frame.columns)
        raise KdbenchError(f"{task.name}, split {split}: there is no column {column}, the columns are {there}: "
                           "correct corpus.text")  # fmt: skip
    texts = [_replaced(str(text), task) for text in table.frame[column].dropna()]
    texts = [text for text in texts if text and not text.isspace()]
    if not texts:
        raise KdbenchError(
            f"{task.name}, split {split}: there is no text in the column {column}: give a corpus that has some"
        )
    return texts


def _replaced(text: str, task: Task) -> str:
    for written, meant in task.replace.items():
        text = text.replace(written, meant)
    return text


def rows_of_texts(tokenizer: Any, texts: Sequence[str], task: Task, split: str) -> Split:
    """The tokens of texts between the tokenizer's first and last special token, in rows of at most `task.max_length`.

    Packed, texts follow each other with a separator between them and rows end where they are full; otherwise a row has
    one text, or a piece of one that is longer. A cap keeps a random subset of the rows by `task.seed`.

    Raises:
        KdbenchError: a tokenizer without such tokens.
    """
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or last is None:
        raise KdbenchError(
            f"{task.name} is cut into rows that begin and end with a special token, which the teacher's tokenizer does "
            "not have: choose an encoder's"
        )
    encoded = _encoded(tokenizer, texts)
    pieces = _packed(encoded, task.max_length - 2, last) if task.packed else _alone(encoded, task.max_length - 2)
    rows = [np.concatenate([[first], piece, [last]]).astype(np.int32) for piece in pieces]
    kept = capped(task, split, np.arange(len(rows), dtype=np.int64))
    rows = [rows[place] for place in kept]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    tokens = np.concatenate(rows)
    labels = np.full(len(rows), -1, dtype=np.int64)
    return Split(tokens, np.zeros(len(tokens), dtype=np.int8), offsets, labels, kept)


def _encoded(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), CHUNK):
        encoding = tokenizer(
            list(texts[start : start + CHUNK]),
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        yield from encoding["input_ids"]


def _packed(texts: Iterator[list[int]], length: int, separator: int) -> Iterator[np.ndarray]:
    joined: list[int] = []
    for number, text in enumerate(texts):
        joined += [separator, *text] if number else text
        while len(joined) >= length:
            yield np.array(joined[:length])
            joined = joined[length:]
    if joined:
        yield np.array(joined)


def _alone(texts: Iterator[list[int]], length: int) -> Iterator[np.ndarray]:
    for text in texts:
        for start in range(0, len(text), length):
            yield np.array(text[start : start + length])
