"""The summary as printed: its columns, and what they mean."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from kdbench.metric import LOWER_IS_BETTER
from kdbench.report.column import Column, numbers, told, words
from kdbench.report.number import billions, millions, percent, percent_decimals, rough
from kdbench.report.row import OOD
from kdbench.report.table import Tables, tells_task

COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters_total", "parameters (M)", millions),
    ("parameters_encoder", "encoder (M)", millions),
    ("compression_total", "compression (x)", rough),
    ("bytes", "on disk (MB)", millions),
    ("flops", "FLOPs (G)", billions),
    ("latency_ms_batch_1", "latency 1 (ms)", rough),
    ("latency_ms_batch_32", "latency 32 (ms)", rough),
)


def printed(tables: Tables) -> list[Column]:
    """The columns of the summary; what is constant or blank all over is left out."""
    summary = tables.summary
    shown = [name for name in tables.varying if not tells_task(tables.runs, name)]
    columns = [words("task", summary["task"]), words("model", summary["role"])]
    columns += [words(name, summary[name]) for name in shown]
    columns.append(Column("n", tuple(map(str, summary["n"])), tuple(map(float, summary["n"]))))
    names = list(dict.fromkeys(str(name) for name in summary["score_name"]))
    if len(names) == 1:
        columns += _scores(tables, "score", _short(tables, names[0]))
    else:
        metrics = words("score is", [_short(tables, str(name)) for name in summary["score_name"]])
        columns += [*_scores(tables, "score", "score"), metrics]
    for metric in tables.metrics:
        if not _always_the_score(summary, metric):
            columns += _scores(tables, metric, _short(tables, metric))
    columns.append(numbers("kept (%)", summary["kept_mean"], percent))
    columns += [numbers(title, summary[name], text) for name, title, text in COSTS]
    return told(columns)


def note(tables: Tables) -> str:
    """What the columns mean, in a line below the table."""
    return (
        f"Scores on {' and '.join(_splits(tables))}: mean and standard deviation (±, with n - 1) over the n runs of a "
        "cell. kept: student score / teacher score. compression: teacher parameters / student parameters. "
        "FLOPs: of a row of 128 tokens. latency: of a batch of 1 and of 32 rows of 64 tokens, on one thread."
    )


def _splits(tables: Tables) -> list[str]:
    return list(dict.fromkeys(str(name).split("/")[0] for name in tables.summary["score_name"]))


def _short(tables: Tables, metric: str) -> str:
    """The metric without its split, which the note tells where there is but one; of another data set its whole name."""
    if metric.startswith(f"{OOD}/"):
        return metric.replace("/", " ")
    return metric.split("/", 1)[1] if len(_splits(tables)) == 1 else metric


def _always_the_score(summary: pd.DataFrame, metric: str) -> bool:
    return bool((summary["score_name"][summary[f"{metric}_mean"].notna()] == metric).all())


def _scores(tables: Tables, name: str, title: str) -> list[Column]:
    """The mean of a metric, and its deviation in a column of its own, so that both are aligned and sortable."""
    means, deviations = tables.summary[f"{name}_mean"], tables.summary[f"{name}_sd"]
    if name.split("/")[-1] in LOWER_IS_BETTER:  # no share of anything
        return [numbers(title, means, rough), numbers("±", deviations, rough)]
    decimals = percent_decimals(deviations)
    return [
        numbers(f"{title} (%)", means, lambda share: percent(share, decimals)),
        numbers("±", deviations, lambda share: percent(share, decimals)),
    ]
