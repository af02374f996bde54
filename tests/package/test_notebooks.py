"""Notebooks carry no outputs, and their code runs on the table that a report writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs.csv of two methods with two seeds each, as `kdbench-report` writes it."""
    rows = [
        {
            "task": "reviews",
            "data": "reviews",
            "method": method,
            "student/size": "l3_h384",
            "seed": seed,
            "score_name": "validation/accuracy",
            "score": 0.6 + 0.1 * seed + (method == "kd") * 0.05,
            "teacher_score": 0.9,
            "kept": 0.8,
            "parameters_total": 17.4e6,
        }
        for method in ("label", "kd")
        for seed in (1, 2)
    ]
    path = tmp_path / "runs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_there_is_one() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(notebook: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(notebook))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_code_reads_a_report(notebook: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setenv("KDBENCH_RUNS", str(runs))
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for cell in cells(notebook):
        exec("".join(cell["source"]), names)
    assert names["varied"] == ["method"]
    table = names["table"]
    assert table["runs"].tolist() == [2, 2]
    assert table["score"].tolist() == pytest.approx([0.75, 0.8])
    assert len(names["axis"].collections) == 2 and names["axis"].get_xlim()[0] < 17.4 < names["axis"].get_xlim()[1]
    names["plt"].close("all")
