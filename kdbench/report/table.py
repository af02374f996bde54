"""The tidy table (one row a run), the summary (one row a cell, mean and deviation over seeds), and their averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdbench.error import KdbenchError
from kdbench.report.collect import Study
from kdbench.report.control import is_control
from kdbench.report.over_tasks import over_tasks
from kdbench.report.row import OOD, Value, axis_names, metric_names, run_row, teacher_row

TEXTS = ("task", "score_name", "teacher_signature", "signature")
# Exact or nearly so within a cell: the mean alone is told.
COSTS = (
    "parameters_total",
    "parameters_embeddings",
    "parameters_encoder",
    "compression_total",
    "compression_encoder",
    "bytes",
    "flops",
    "latency_ms_batch_1",
    "latency_ms_batch_32",
    "speed_up_batch_1",
    "speed_up_batch_32",
    "train_seconds",
)


@dataclass(frozen=True)
class Tables:
    """The tables of a report.

    `axes` are the axis columns without the seed, `varying` those with more than one value, `constant` the others with
    their value. `metrics` are the metrics of the score's split. `runs` has one row a run; `summary` one row a cell
    (role student, or control for one without distillation beside others) and one a task's teacher (role teacher), best
    first, the teacher on top of its task; `averages` are `over_tasks`.
    """

    runs: pd.DataFrame
    summary: pd.DataFrame
    averages: pd.DataFrame
    axes: tuple[str, ...]
    varying: tuple[str, ...]
    constant: dict[str, str]
    metrics: tuple[str, ...]


def tables(study: Study, split: str | None = None) -> Tables:
    """The tidy table and the summary of a study; `split` scores the runs on another split than their own.

    Raises `KdbenchError` where no run has a result, or none was scored on that split.
    """
    if not study.runs:
        reason = study.without_result[0].reason or "no reason was written"
        raise KdbenchError(f"{study.folder} has no finished run among its jobs ({len(study.jobs)}): {reason}")
    axes, metrics = axis_names(study.runs), metric_names(study.runs)
    rows = [run_row(job, axes, metrics, split) for job in study.runs]
    if split is not None and all(row["score"] is None for row in rows):
        splits = sorted({name.split("/")[0] for name in metrics} - {OOD})
        raise KdbenchError(f"no run has a score on split={split}; choose --split from {', '.join(splits)}")
    beside = [row for job in study.runs if (row := teacher_row(job, axes, metrics, split)) is not None]
    runs = _frame(rows, axes)
    teachers = _one_row_each(_frame(beside, axes), axes) if beside else []
    splits_scored = {str(row["score_name"]).split("/")[0] for row in rows}
    scored = [name for name in metrics if name.split("/")[0] in {*splits_scored, OOD}]
    varying = tuple(name for name in axes if runs[name].nunique() > 1)
    constant = {name: str(runs[name].iloc[0]) for name in axes if name not in varying}
    summary, averages = _summary(runs, teachers, axes, scored), over_tasks(runs, pd.DataFrame(teachers), axes)
    return Tables(runs, summary, averages, tuple(axes), varying, constant, tuple(scored))


def tells_task(runs: pd.DataFrame, axis: str) -> bool:
    """Whether an axis only repeats the task column, as `data` does for one task a data set."""
    return bool((runs[axis] == runs["task"]).all())


def _frame(rows: Sequence[dict[str, Value]], axes: Sequence[str]) -> pd.DataFrame:
    """Rows to a frame: none twice (two sweeps can share a run), numbers as numbers, seeds as whole numbers."""
    frame = pd.DataFrame(list({tuple(row.items()): row for row in rows}.values()))
    for name in frame.columns.difference([*TEXTS, *axes, "seed"]):
        frame[name] = pd.to_numeric(frame[name])
    if "seed" in frame and all(str(seed).lstrip("-").isdigit() for seed in frame["seed"]):
        frame["seed"] = frame["seed"].astype(int)
    return frame


def _one_row_each(teachers: pd.DataFrame, axes: Sequence[str]) -> list[dict[str, Any]]:
    """One row a teacher: every run of a sweep repeats its teacher, with a latency measured anew."""
    groups = teachers.groupby(["task", "score_name", *axes, "signature"], dropna=False, sort=False)
    return _records(groups.mean().reset_index())


def _summary(
    runs: pd.DataFrame, teachers: Sequence[dict[str, Any]], axes: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Mean and sample standard deviation (n - 1; blank for one run) by role, task and cell."""
    controls = is_control(runs)
    rows = [
        {"role": "control" if control else "student"} | row
        for row, control in zip(_records(runs), controls, strict=True)
    ]
    rows += [{"role": "teacher"} | row for row in teachers]
    groups = pd.DataFrame(rows).groupby(["role", "task", "score_name", *axes], dropna=False, sort=False)
    columns: dict[str, Any] = {"n": groups.size()}
    for name in ("score", *metrics, "kept"):
        columns[f"{name}_mean"], columns[f"{name}_sd"] = groups[name].mean(), groups[name].std(ddof=1)
    summary = pd.DataFrame(columns | {name: groups[name].mean() for name in COSTS}).reset_index()
    order = summary.assign(first=summary["role"] == "teacher")
    order = order.sort_values(["task", "first", "score_mean"], ascending=[True, False, False], kind="stable")
    return order.drop(columns="first").reset_index(drop=True)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
