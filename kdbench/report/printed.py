"""The summary as printed: columns of texts with the values behind them, for Markdown and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from kdbench.report.collect import Study
from kdbench.report.number import millions, percent, percent_decimals, rough
from kdbench.report.table import Tables, tells_task

COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters_total", "parameters (M)", millions),
    ("parameters_encoder", "encoder (M)", millions),
    ("compression_total", "compression (x)", rough),
    ("latency_ms_batch_1", "latency 1 (ms)", rough),
    ("latency_ms_batch_32", "latency 32 (ms)", rough),
)


@dataclass(frozen=True)
class Column:
    """A printed column: a title, one text a row, and the values to sort by (NaN where there is none)."""

    title: str
    texts: tuple[str, ...]
    values: tuple[str | float, ...]
    numeric: bool = True


def printed(tables: Tables) -> list[Column]:
    """The columns of the summary; what is constant or blank all over is left out."""
    summary = tables.summary
    shown = [name for name in tables.varying if not tells_task(tables.runs, name)]
    columns = [_words("task", summary["task"]), _words("model", summary["role"])]
    columns += [_words(name, summary[name]) for name in shown]
    columns.append(Column("n", tuple(map(str, summary["n"])), tuple(map(float, summary["n"]))))
    names = list(dict.fromkeys(str(name) for name in summary["score_name"]))
    if len(names) == 1:
        columns += _scores(tables, "score", _short(tables, names[0]))
    else:
        told = _words("score is", [_short(tables, str(name)) for name in summary["score_name"]])
        columns += [*_scores(tables, "score", "score"), told]
    for metric in tables.metrics:
        if not _always_the_score(summary, metric):
            columns += _scores(tables, metric, _short(tables, metric))
    columns.append(_numbers("kept (%)", summary["kept_mean"], percent))
    columns += [_numbers(title, summary[name], text) for name, title, text in COSTS]
    return [column for column in columns if any(column.texts)]


def note(tables: Tables) -> str:
    """What the columns mean, in a line below the table."""
    return (
        f"Scores on {' and '.join(_splits(tables))}: mean and standard deviation (±, with n - 1) over the n runs of a "
        "cell. kept: student score / teacher score. compression: teacher parameters / student parameters. "
        "latency: of a batch of 1 and of 32 rows."
    )


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


def markdown(study: Study, tables: Tables) -> str:
    """The whole of `summary.md`: what is constant, the table, and the jobs without a result."""
    parts = [f"# {study.name}"]
    if tables.constant:
        settings = ", ".join(f"{name} = {value or '(none)'}" for name, value in tables.constant.items())
        parts.append(f"Constant: {settings}.")
    parts += [markdown_table(printed(tables)), note(tables)]
    if study.without_result:
        lines = [f"- {job.status}: `{job.label or job.signature}`: {job.reason or ''}" for job in study.without_result]
        parts += [f"## Jobs without a result ({len(lines)} of {len(study.jobs)})", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _splits(tables: Tables) -> list[str]:
    return list(dict.fromkeys(str(name).split("/")[0] for name in tables.summary["score_name"]))


def _short(tables: Tables, metric: str) -> str:
    """The metric without its split, which the note tells where there is but one."""
    return metric.split("/", 1)[1] if len(_splits(tables)) == 1 else metric


def _always_the_score(summary: pd.DataFrame, metric: str) -> bool:
    return bool((summary["score_name"][summary[f"{metric}_mean"].notna()] == metric).all())


def _words(title: str, values: Iterable[object]) -> Column:
    texts = tuple(str(value) for value in values)
    return Column(title, texts, texts, numeric=False)


def _numbers(title: str, values: Iterable[float], text: Callable[[float], str]) -> Column:
    numbers = tuple(float(value) for value in values)
    return Column(title, tuple("" if math.isnan(value) else text(value) for value in numbers), numbers)


def _scores(tables: Tables, name: str, title: str) -> list[Column]:
    """The mean of a metric, and its deviation in a column of its own, so that both are aligned and sortable."""
    means, deviations = tables.summary[f"{name}_mean"], tables.summary[f"{name}_sd"]
    decimals = percent_decimals(deviations)
    return [
        _numbers(f"{title} (%)", means, lambda share: percent(share, decimals)),
        _numbers("±", deviations, lambda share: percent(share, decimals)),
    ]
