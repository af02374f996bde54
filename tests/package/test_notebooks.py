"""Notebooks carry no outputs and run from top to bottom: three on a small task, one on the table of a report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


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


def test_there_are_those_that_are_run_below() -> None:
    assert {path.stem for path in NOTEBOOKS} == {
        "add_a_knowledge", "from_teacher_to_export", "quick_start", "read_a_sweep"
    }  # fmt: skip


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(notebook: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(notebook))


def test_the_code_reads_a_report(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setenv("KDBENCH_RUNS", str(runs))
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for cell in cells(FOLDER / "read_a_sweep.ipynb"):
        exec("".join(cell["source"]), names)
    assert names["varied"] == ["method"]
    table = names["table"]
    assert table["runs"].tolist() == [2, 2]
    assert table["score"].tolist() == pytest.approx([0.75, 0.8])
    assert len(names["axis"].collections) == 2 and names["axis"].get_xlim()[0] < 17.4 < names["axis"].get_xlim()[1]
    names["plt"].close("all")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Runs a notebook in a kernel of its own, as a copy in an empty folder; what its cells answer, by their names. All
    share a store, as they do for a reader."""
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebooks")

    def run(name: str) -> dict[str, str]:
        copy = shutil.copy(FOLDER / f"{name}.ipynb", folder)
        notebook = nbformat.read(copy, as_version=4)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("KDBENCH_STORE", str(folder / "store"))
            NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
        found = {}
        for cell in notebook.cells:
            answers = [each["data"] for each in cell.get("outputs", ()) if each["output_type"] == "execute_result"]
            if answers:
                found[cell["id"]] = answers[-1]["text/plain"] + (" image" if "image/png" in answers[-1] else "")
        return found

    return run


@pytest.mark.embedded
def test_quick_start(executed: Callable[[str], dict[str, str]]) -> None:
    found = executed("quick_start")
    table = found["table"].splitlines()
    assert [line.split()[0] for line in table[2:]] == ["label", "kd", "hidden", "teacher"]
    assert all(0.4 < float(line.split()[1]) < 1.0 for line in table[2:])
    assert float(table[5].split()[1]) > 0.65, "the teacher has learned more than the commonest answer"
    assert found["plot"].endswith(" image") and found["stored"] == "True"


@pytest.mark.embedded
def test_a_knowledge_of_ones_own(executed: Callable[[str], dict[str, str]]) -> None:
    found = executed("add_a_knowledge")
    scores = eval(found["run"])
    assert set(scores) == {"hidden", "token_spread"} and all(0.4 < score < 1.0 for score in scores.values())
    assert found["padding"] == "True"


@pytest.mark.embedded
def test_from_a_teacher_to_an_exported_student(executed: Callable[[str], dict[str, str]]) -> None:
    found = executed("from_teacher_to_export")
    costs = eval(found["cost"])
    assert costs["student"][0] < costs["teacher"][0] / 2
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(eval(found["write"]))
    said = eval(found["predict"])
    assert len(said) == 2 and all(
        set(each) == {"rotten", "fresh"} and abs(sum(each.values()) - 1) < 0.01 for each in said
    )
