"""The interactive part of the page: what its charts are drawn from, as one JSON text inside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from kdbench.error import KdbenchError
from kdbench.example_table import confusion, example_table
from kdbench.finished_run import FinishedRun
from kdbench.report.cell import cell_labels
from kdbench.report.collect import Job, Study
from kdbench.report.control import is_control
from kdbench.report.table import Tables, tells_task

EXAMPLES_A_RUN, EXAMPLES = 25, 5000
"""Rows shown of a run, and of all runs together, so that the page of a large study stays one that a browser opens."""

NUMBERS = {
    "score": "score",
    "kept": "kept",
    "agreement": "agreement",
    "parameters": "parameters_total",
    "flops": "flops",
    "latency": "latency_ms_batch_1",
    "seconds": "train_seconds",
}
"""The numbers of a run in the charts, and their columns in the tidy table."""


@dataclass(frozen=True)
class Explorer:
    """What the page needs besides its text: the data, our script and the plotting library."""

    data: Mapping[str, Any]

    @property
    def json(self) -> Markup:
        """The data as they stand in a script element, which nothing in them can end."""
        return Markup(json.dumps(self.data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))

    @property
    def script(self) -> Markup:
        return Markup(files("kdbench.report").joinpath("explore.js").read_text(encoding="utf-8"))

    @property
    def library(self) -> Markup:
        """Plotly, whole: the page is opened where no network is."""
        from plotly.offline import get_plotlyjs

        return Markup(get_plotlyjs())


def explorer(study: Study, tables: Tables) -> Explorer:
    """The runs of a study with their learning curves and the rows on which student and teacher are furthest apart."""
    runs = tables.runs
    axes = [name for name in tables.varying if not tells_task(runs, name)]
    jobs = {str(job.signature): job for job in study.runs}
    labels, controls = cell_labels(runs, axes), is_control(runs)
    rows: list[dict[Any, Any]] = runs.to_dict("records")
    listed: list[dict[str, Any]] = [
        {
            "id": row["signature"],
            "task": row["task"],
            "cell": cell,
            "role": "control" if control else "student",
            "axes": {name: str(row[name]) for name in axes},
            "seed": str(row["seed"]),
            **{name: _number(row.get(column)) for name, column in NUMBERS.items()},
        }
        for row, cell, control in zip(rows, labels, controls, strict=True)
    ]
    told = {str(row["id"]): jobs[str(row["id"])] for row in listed if str(row["id"]) in jobs}
    limit = max(3, min(EXAMPLES_A_RUN, EXAMPLES // max(1, len(told))))
    return Explorer(
        {
            "axes": axes,
            "scores": list(dict.fromkeys(str(name) for name in runs["score_name"])),
            "runs": listed,
            "curves": {signature: curves((job.record or {}).get("history") or ()) for signature, job in told.items()},
            "examples": {signature: found for signature, job in told.items() if (found := examples(job, limit))},
        }
    )


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Steps and values of each number that a training noted, by its name; the steps of stages follow each other."""
    found: dict[str, list[list[float]]] = {}
    before = last = 0.0
    stage = None
    for row in history:
        if row["stage"] != stage:
            stage, before = row["stage"], before + last
        last = row["step"]
        for name, value in row.items():
            if name not in ("stage", "step") and _number(value) is not None:
                steps, values = found.setdefault(name, [[], []])
                steps.append(before + last)
                values.append(float(f"{value:.5g}"))
    return found


def examples(job: Job, limit: int) -> dict[str, Any] | None:
    """Rows of a run's validation split, and its confusion matrix; None where the store no longer has them."""
    if job.store is None or job.signature is None:
        return None
    run = FinishedRun(job.store, job.signature)
    try:
        table = example_table(run)
    except (KdbenchError, OSError, KeyError):  # an artefact that was taken away: the rest of the page does without
        return None
    if table is None:
        return None
    classes = run.task.labels if run.task.kind == "classification" else ()
    shown = table.head(limit)
    return {
        "columns": list(shown.columns),
        "rows": [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)],
        "classes": list(classes),
        "confusion": confusion(table, classes).tolist() if classes else [],
    }


def _cell(value: Any) -> str | float | None:
    if value is None or isinstance(value, str):
        return value
    return None if math.isnan(float(value)) else float(f"{float(value):.4g}")


def _number(value: Any) -> float | None:
    found = math.nan if value is None or isinstance(value, str) else float(value)
    return found if math.isfinite(found) else None
