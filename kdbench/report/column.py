"""Columns of text with the values behind them, for Markdown and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Text = Callable[[float], str]


@dataclass(frozen=True)
class Column:
    """A printed column: a title, one text a row, and the values to sort by (NaN where there is none)."""

    title: str
    texts: tuple[str, ...]
    values: tuple[str | float, ...]
    numeric: bool = True


def words(title: str, values: Iterable[object]) -> Column:
    """A column of text."""
    texts = tuple(str(value) for value in values)
    return Column(title, texts, texts, numeric=False)


def numbers(title: str, values: Iterable[float], text: Text) -> Column:
    """A column of numbers; NaN is blank."""
    found = tuple(float(value) for value in values)
    return Column(title, tuple("" if math.isnan(value) else text(value) for value in found), found)


def intervals(title: str, low: Iterable[float], high: Iterable[float], text: Text) -> Column:
    """A column of intervals, sorted by their low ends; NaN is blank."""
    ends = [(float(one), float(other)) for one, other in zip(low, high, strict=True)]
    texts = tuple("" if math.isnan(one) else f"{text(one)} to {text(other)}" for one, other in ends)
    return Column(title, texts, tuple(one for one, _ in ends))


def told(columns: Sequence[Column]) -> list[Column]:
    """The columns without those that are blank all over."""
    return [column for column in columns if any(column.texts)]


def markdown_table(columns: Sequence[Column]) -> str:
    """A Markdown table whose source is aligned too; numbers to the right."""
    cells = [[column.title, *column.texts] for column in columns]
    cells = [[text.replace("|", "\\|") for text in column] for column in cells]
    widths = [max(3, *(len(text) for text in column)) for column in cells]
    ruler = [
        "-" * (width - 1) + ":" if column.numeric else "-" * width
        for width, column in zip(widths, columns, strict=True)
    ]
    lines = [
        [
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        for row in zip(*cells, strict=True)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], ruler, *lines[1:]])
