from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException

from kdbench.error import KdbenchError
from kdbench.sweep import Job, SweepError, describe, failure, number_jobs, progress, reason_of, runs, summary
from kdbench.sweep_folder import enter, planned, read_jobs, write_sweep


@dataclass(frozen=True)
class Step:
    kind: str
    signature: str
    label: str
    done: bool


def job(label: str, status: str = "planned", signature: str | None = None, reason: str | None = None) -> Job:
    return Job((label, "training=short"), label, status, signature or label, reason)


@pytest.fixture
def jobs() -> list[Job]:
    return [
        job("k=a", "reused"),
        job("k=b"),
        job("k=c", reason="the same run as k=b", signature="k=b"),
        job("k=d"),
        Job(("k=e",), "k=e", "impossible", reason="e needs scores: choose k=a"),
        Job(("k=f",), "k=f", "impossible", reason="e needs scores: choose k=a"),
        Job(("k=g",), "k=g", "excluded"),
    ]


def test_each_signature_is_launched_once_with_numbers_from_0(jobs: list[Job]) -> None:
    assert [(each.label, each.number) for each in number_jobs(jobs)] == [("k=b", 0), ("k=d", 1)]
    assert [each.label for each in runs(jobs)] == ["k=a", "k=b", "k=d"]


def test_the_plan_counts_cells_artefacts_and_reasons(jobs: list[Job]) -> None:
    steps = [
        Step("data", "1", "reviews", True),
        Step("teacher", "2", "minilm on reviews", False),
        Step("teacher", "2", "minilm on reviews", False),
        Step("teacher", "3", "bert on reviews", False),
        Step("run", "4", "reviews", False),
    ]
    assert describe(jobs, steps, ["{'k': 'z'}"]).splitlines() == [
        "7 cells: 2 to run, 1 in the store already, 1 the same run as another, 2 impossible, 1 excluded",
        "  2 teachers to train: minilm on reviews, bert on reviews",
        "  impossible, 2 cells: e needs scores: choose k=a",
        "    k=e",
        "    k=f",
        "  the exclusion {'k': 'z'} matches no cell",
    ]


def test_the_plan_alone_lists_every_cell(jobs: list[Job]) -> None:
    assert describe(jobs, [], every_cell=True).splitlines()[-5:] == [
        "  in the store: k=a",
        "  to run: k=b",
        "  same as k=b: k=c",
        "  to run: k=d",
        "  excluded: k=g",
    ]


def test_the_plan_counts_the_controls_and_marks_them(jobs: list[Job]) -> None:
    jobs[1].control = jobs[2].control = True  # one run
    jobs.append(Job(("method=label",), "method=label", signature="m", control=True))
    lines = describe(jobs, [], every_cell=True).splitlines()
    assert lines[0].startswith("8 cells, 2 controls among them: 3 to run, ")
    assert "  to run: k=b (control)" in lines and "  to run: method=label (control)" in lines
    assert sum("(control)" in line for line in lines) == 3


def test_a_sweep_of_before_the_controls_is_read(jobs: list[Job], tmp_path: Path) -> None:
    write_sweep(tmp_path, "demo", Path("/store"), jobs)
    content = json.loads((tmp_path / "sweep.json").read_text())
    for entry in content["jobs"]:
        del entry["control"], entry["matched"]
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert read_jobs(tmp_path) == jobs


def test_the_end_of_a_job_is_entered_with_its_twins(jobs: list[Job], tmp_path: Path) -> None:
    number_jobs(jobs)
    write_sweep(tmp_path, "demo", Path("/store"), jobs)
    assert read_jobs(tmp_path) == jobs
    assert (
        enter(tmp_path, 0, "finished", None, 0.8125) == "[2/3] finished: k=b score 0.8125 (1 reused, 0 failed, 1 left)"
    )
    assert planned(tmp_path) == {1}
    assert enter(tmp_path, 1, "failed", "the loss is NaN", float("nan")) == (
        "[3/3] failed: k=d: the loss is NaN (1 reused, 1 failed, 0 left)"
    )
    ended = {each.label: (each.status, each.score) for each in read_jobs(tmp_path)}
    assert ended["k=b"] == ended["k=c"] == ("finished", 0.8125)
    assert ended["k=d"] == ("failed", None)
    assert (ended["k=e"], ended["k=g"]) == (("impossible", None), ("excluded", None))


def test_the_end_lists_failed_runs_with_reason_and_folder(jobs: list[Job], tmp_path: Path) -> None:
    number_jobs(jobs)
    jobs[1].status, jobs[3].status, jobs[3].reason = "finished", "failed", "the loss is NaN"
    jobs[2].status = "finished"
    assert summary(jobs, tmp_path).splitlines() == [
        "3 runs: 1 failed, 1 finished, 1 reused",
        f"  failed: k=d: the loss is NaN ({tmp_path / '1'})",
    ]
    assert failure(jobs) == "1 of 3 runs failed (the loss is NaN): the same command runs only what is missing"
    jobs[3].status = "finished"
    assert failure(jobs) is None
    assert "failed" not in summary(jobs, tmp_path)


def test_progress_counts_up_to_the_whole(jobs: list[Job]) -> None:
    launched = number_jobs(jobs)
    for place, each in enumerate(launched, start=2):
        for twin in jobs:
            if twin.signature == each.signature:
                twin.status = "finished"
        assert progress(jobs, each).startswith(f"[{place}/3] finished: {each.label} ")


def test_reasons_are_one_line_and_name_the_class_of_a_defect() -> None:
    assert reason_of(KdbenchError("paths.store is full: free some space")) == "paths.store is full: free some space"
    assert reason_of(ValueError("two\n lines")) == "ValueError: two lines"


def test_hydra_prints_a_sweep_error_without_a_trace() -> None:
    assert issubclass(SweepError, KdbenchError)
    assert issubclass(SweepError, CompactHydraException)
