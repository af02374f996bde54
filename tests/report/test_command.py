"""The console front: the files, the last line, and the one sentence of each mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from kdbench.json_file import write_json
from kdbench.report.command import app

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
TABLES = ("runs", "summary", "over_tasks", "cells", "gains", "comparisons", "effects", "importance")
FIGURES = ("score", "effects", "pareto")
FILES = {"summary.md", "report.html", *(f"{name}.csv" for name in TABLES)}
FILES |= {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, says: str) -> None:
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("kdbench: ") and says in line


def test_a_report_of_a_sweep(records: list[Record], write_sweep: WriteSweep) -> None:
    folder = write_sweep(records)
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (folder / "report").iterdir()} == FILES
    lines = result.stdout.splitlines()
    assert lines[-1] == str(folder / "report" / "report.html")
    assert any(line.startswith("| glue/rte") for line in lines)
    runs = pd.read_csv(folder / "report" / "runs.csv", dtype={"signature": str})
    assert list(runs["signature"]) == [record["signature"] for record in records]
    assert runs["bytes"].dtype == "int64" and set(runs["method"]) == {"unified"}
    summary = (folder / "report" / "summary.md").read_text(encoding="utf-8")
    answer = summary[: summary.index("## Gain over the control")]
    assert "## Answer" in answer and result.stdout.startswith(answer) and len(result.stdout) < len(summary)
    assert report(folder, "--out", folder / "report").stdout == result.stdout  # again, over the first


def test_out_and_split(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    result = report(write_sweep(records[:4]), "--out", tmp_path / "deep" / "er", "--split", "test")
    assert result.exit_code == 0, result.output
    summary = pd.read_csv(tmp_path / "deep" / "er" / "summary.csv")
    assert set(summary["score_name"]) == {"test/accuracy"}


def test_a_store_is_not_written_to(
    records: list[Record], write_sweep: WriteSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_sweep(records).parent / "store"
    monkeypatch.chdir(tmp_path)
    assert report(store).stdout.splitlines()[-1] == str(Path("report") / "report.html")
    assert {path.name for path in store.iterdir()} == {"run"}


def test_a_moved_store(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    folder = write_sweep(records)
    (tmp_path / "store").rename(tmp_path / "moved")
    refused(report(folder), "is not in the store")
    assert report(folder, "--store", tmp_path / "moved").exit_code == 0


def test_a_missing_record_is_listed_and_fails(records: list[Record], write_sweep: WriteSweep) -> None:
    gone = [
        {"signature": f"{index:016d}", "overrides": [f"seed={index}"], "axes": {}, "status": "reused"}
        for index in (71, 72)
    ]
    folder = write_sweep(records, gone)
    result = report(folder)
    refused(result, "`kdbench seed=71` (and 1 more, all in the report)")
    assert result.stdout.splitlines()[-1].endswith("report.html")
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "kdbench seed=71" in page and "kdbench seed=72" in page


def test_a_half_written_record_fails(records: list[Record], write_sweep: WriteSweep) -> None:
    folder = write_sweep(records[:1])
    (folder.parent / "store" / "run" / records[0]["signature"] / "record.json").write_text("{", encoding="utf-8")
    refused(report(folder), "not readable as JSON")


def test_mistakes_are_one_sentence(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    folder = write_sweep(records)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused(report(tmp_path / "none"), "there is no folder")
    refused(report(tmp_path / "empty"), "holds no runs")
    refused(report(folder, "--split", "tset"), "choose --split from")
    refused(report(folder, "--out", tmp_path / "file"), "choose another --out")
    write_json(folder / "sweep.json", {"name": "x"})
    refused(report(folder), "has no 'store'")


def test_help_needs_no_heavy_library() -> None:
    heavy = ("pandas", "matplotlib", "numpy", "jinja2", "torch")
    code = f"import kdbench.report.command, sys; sys.exit(any(name in sys.modules for name in {heavy!r}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_figure_of_an_earlier_report_does_not_stay(records: list[Record], write_sweep: WriteSweep) -> None:
    folder = write_sweep(records)
    out = folder / "report"
    out.mkdir()
    for kind in ("svg", "png"):
        (out / f"gains.{kind}").touch()  # of when there were controls
    assert report(folder).exit_code == 0
    assert {path.name for path in out.iterdir()} == FILES
