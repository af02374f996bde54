"""What a search hears of a training: the trial's own evaluations, in the objective's own metric, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna

import kdbench
from kdbench.search.pruning import Reporter, reporting

Overrides = Callable[..., list[str]]
SIZE = "student.width: 32, student.heads: 4, student.intermediate: 64, student.max_positions: 64"
ASSISTANT = f"+team.small.student={{student.layers: 1, {SIZE}, initialization: random, training.epochs: 3}}"


def history(record: dict[str, Any], metric: str) -> dict[int, float]:
    """The evaluations of a run's last stage, counted from 1."""
    last = [*record["config"]["stages"]][-1]
    rows = [row for row in record["history"] if row["stage"] == last and metric in row and row["step"] > 0]
    return {number: row[metric] for number, row in enumerate(rows, start=1)}


def test_runs_behind_a_trial_are_not_reported_as_the_trial(tiny: Overrides) -> None:
    """An assistant and the pilots of a team train within the trial's own run, before its student does."""
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    team = ["method=kd", ASSISTANT, "+team.large.teacher={}", "sampling=student_rank", "training.epochs=2"]
    with reporting(Reporter(trial, prunes=True)):
        record = kdbench.run(kdbench.compose(tiny(*team)))
    (found,) = study.trials
    assert len(found.intermediate_values) == 2
    assert found.intermediate_values == history(record, "validation/accuracy")
