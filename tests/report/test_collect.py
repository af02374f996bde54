"""Which jobs a folder holds, and that none is dropped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.error import KdbenchError
from kdbench.json_file import write_json
from kdbench.report.collect import collect

Record = dict[str, Any]
WriteSweep = Callable[..., Path]


def test_every_job_of_a_sweep_is_there(records: list[Record], write_sweep: WriteSweep) -> None:
    more = [
        {"signature": None, "overrides": ["knowledge=attention"], "axes": {}, "status": "impossible", "reason": "no"},
        {"signature": "f" * 16, "overrides": ["seed=9"], "axes": {}, "status": "failed", "reason": "NaN at step 3"},
        {"signature": "e" * 16, "overrides": ["seed=8"], "axes": {}, "status": "planned", "reason": None},
    ]
    study = collect(write_sweep(records, more))
    assert study.name == "which-knowledge"
    assert len(study.jobs) == len(records) + 3 and len(study.runs) == len(records)
    assert [job.status for job in study.without_result] == ["impossible", "failed", "planned"]
    assert [job.reason for job in study.without_result][:2] == ["no", "NaN at step 3"]
    assert "not run yet" in (study.without_result[2].reason or "")
    assert study.problems == ()


def test_a_killed_sweep_counts_what_is_in_the_store(records: list[Record], write_sweep: WriteSweep) -> None:
    folder = write_sweep(
        records[:1], [{"signature": records[0]["signature"], "overrides": [], "axes": {}, "status": "planned"}]
    )
    assert len(collect(folder).runs) == 2


@pytest.mark.parametrize("status", ["finished", "reused"])
def test_a_missing_record_says_the_command(records: list[Record], write_sweep: WriteSweep, status: str) -> None:
    gone = {"signature": "d" * 16, "overrides": ["knowledge=hidden", "seed=3"], "axes": {}, "status": status}
    (problem,) = collect(write_sweep(records, [gone])).problems
    assert "d" * 16 in problem and "`kdbench knowledge=hidden seed=3`" in problem and "\n" not in problem


@pytest.mark.parametrize("text", ['{"signature": "a', "[]", "{}", "\ufeff", '{"task": NaN}'])
def test_a_half_written_record_is_a_problem_of_its_job(
    records: list[Record], write_sweep: WriteSweep, text: str
) -> None:
    folder = write_sweep(records)
    path = folder.parent / "store" / "run" / records[0]["signature"] / "record.json"
    path.write_text(text, encoding="utf-8")
    study = collect(folder)
    assert len(study.runs) == len(records) - 1
    (problem,) = study.problems
    assert str(path) in problem and "\n" not in problem


def test_a_single_run(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    write_sweep(records)
    folder = tmp_path / "outputs" / "runs" / "one"
    folder.mkdir(parents=True)
    pointer = {"store": str(tmp_path / "store"), "signature": records[3]["signature"], "axes": {"knowledge": "mine"}}
    write_json(folder / "run.json", pointer)
    for at in (folder, folder.parent, folder.parent.parent):
        (job,) = collect(at).runs
        assert job.record is not None and job.record["signature"] == records[3]["signature"]
        assert job.axes == {"knowledge": "mine"}


def test_a_folder_of_several_sweeps(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    first = write_sweep(records[:4], folder="outputs/sweeps/first")
    write_sweep(records[4:], folder="outputs/sweeps/second")
    # The jobs' own folders inside a sweep are not runs beside it.
    (first / "0").mkdir()
    write_json(first / "0" / "run.json", {"store": "elsewhere", "signature": "c" * 16, "axes": {}})
    for folder in (tmp_path / "outputs", tmp_path / "outputs" / "sweeps"):
        study = collect(folder)
        assert len(study.jobs) == len(records)
        assert study.name == folder.name


def test_a_store_and_its_interrupted_runs(records: list[Record], write_sweep: WriteSweep) -> None:
    store = write_sweep(records).parent / "store"
    (store / "run" / f"{'b' * 16}.partial").mkdir()
    (store / "run" / f"{'b' * 16}.removed").mkdir()
    (store / "run" / f"{'b' * 16}.lock").touch()
    study = collect(store)
    assert study.is_store and len(study.runs) == len(records)
    assert [(job.status, job.signature) for job in study.without_result] == [("unfinished", "b" * 16)]


def test_a_store_that_moved(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    folder = write_sweep(records)
    shutil.move(tmp_path / "store", tmp_path / "moved")
    assert len(collect(folder).problems) == len(records)
    assert len(collect(folder, tmp_path / "moved").runs) == len(records)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (None, None, "there is no folder"),
        ("other.txt", "", "holds no runs"),
        ("sweep.json", '{"name": "x", "jo', "not readable as JSON"),
        ("sweep.json", '{"name": "x", "store": "s"}', "has no 'jobs'"),
        ("sweep.json", '{"name": "x", "store": "s", "jobs": []}', "holds no runs"),
        ("run.json", '{"store": "s"}', "has no 'signature'"),
        ("run.json", "[1]", "no JSON object"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, name: str | None, text: str | None, says: str) -> None:
    folder = tmp_path / "folder"
    if name is not None and text is not None:
        folder.mkdir()
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(KdbenchError, match=re.escape(says)) as raised:
        collect(folder)
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)
