"""Real sweeps of the console command: killed in the middle and repeated, and two at the same moment on one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kdbench.store import Store

KDBENCH = str(Path(sys.executable).parent / "kdbench")
REPORT = str(Path(sys.executable).parent / "kdbench-report")
GRID = ["knowledge=hidden", "matching=first,last", "seed=1,2,3"]
SIZE = ["training.epochs=3", "training.checkpoint_every_steps=2"]


def start(folder: Path, store: Path, overrides: list[str]) -> subprocess.Popen[str]:
    command = [KDBENCH, "-m", *overrides, f"paths.store={store}", f"hydra.sweep.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, cwd=store.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def table(folder: Path) -> pd.DataFrame:
    """The report's rows, without what depends on the machine's mood."""
    subprocess.run([REPORT, str(folder)], check=True, capture_output=True)
    rows = pd.read_csv(folder / "report" / "runs.csv")
    moods = [name for name in rows if any(word in name for word in ("latency", "speed", "seconds"))]
    return rows.drop(columns=moods).sort_values("signature").reset_index(drop=True)


def runs(store: Path) -> dict[str, str]:
    """When each finished run was made."""
    return {
        artefact.signature: str(artefact.created) for artefact in Store(store).artefacts("run") if artefact.complete
    }


@pytest.fixture
def grid(tiny: Callable[..., list[str]]) -> list[str]:
    return [override for override in tiny(*SIZE) if not override.startswith("paths.store")] + GRID


def test_a_killed_sweep_goes_on_where_it_stood(grid: list[str], tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "killed"
    process = start(folder, store, grid)
    deadline = time.monotonic() + 300
    while len(runs(store)) < 2 or not list((store / "stage").glob("*.partial/resume.pt")):
        assert process.poll() is None and time.monotonic() < deadline, "the sweep ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = runs(store)
    assert 2 <= len(finished) < 6
    interrupted = {path.parent.name.removesuffix(".partial") for path in (store / "stage").glob("*.partial/resume.pt")}

    output = finish(start(tmp_path / "again", store, grid))
    assert f"{len(finished)} in the store already" in output
    again = runs(store)
    assert len(again) == 6 and finished.items() <= again.items()
    logs = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "again").rglob("*.log"))
    if interrupted:  # the kill may have struck in the moment after a training's last checkpoint
        assert "resumed after step" in logs + output
    assert {artefact.state for artefact in Store(store).artefacts()} == {"whole"}
    assert all(Store(store).damage(artefact.kind, artefact.signature, hashed=True) is None
               for artefact in Store(store).artefacts())  # fmt: skip

    undisturbed = tmp_path / "calm" / "store"
    undisturbed.parent.mkdir()
    finish(start(tmp_path / "calm" / "sweep", undisturbed, grid))
    pd.testing.assert_frame_equal(table(tmp_path / "again"), table(tmp_path / "calm" / "sweep"))


def test_two_sweeps_at_one_moment_train_their_teacher_once(grid: list[str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    few = [override for override in grid if not override.startswith(("matching", "knowledge", "seed"))]
    both = [start(tmp_path / name, store, [*few, f"seed={seeds}"]) for name, seeds in (("a", "1,2"), ("b", "2,3"))]
    outputs = [finish(process) for process in both]
    fine_tunings = sum(output.count("- training ") for output in outputs)
    assert fine_tunings == 1
    kinds = [artefact.kind for artefact in Store(store).artefacts()]
    assert kinds.count("teacher") == 1 and kinds.count("run") == 3
    endings: list[str] = []
    for name, seeds in (("a", {"1", "2"}), ("b", {"2", "3"})):
        jobs = json.loads((tmp_path / name / "sweep.json").read_text(encoding="utf-8"))["jobs"]
        assert {job["axes"]["seed"] for job in jobs} == seeds
        endings += [job["status"] for job in jobs]
    assert sorted(endings) == ["finished"] * 3 + ["reused"]  # whoever waited for the shared run has not computed it
