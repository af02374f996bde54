"""Trackio as one more sink: what its file holds afterwards, and that it can fail without failing a run."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.logger import loggers
from tests.test_logger import AXES, config

LOG = """
from pathlib import Path
from kdbench.logger import loggers
from tests.test_logger import AXES, config
for seed in (1, 2):
    cfg = config("trackio", seed)
    axes = {{**AXES, "seed": str(seed)}}
    with loggers(cfg, Path("{folder}") / str(seed), axes, f"run {{seed}}", "sweep-1") as trackers:
        for step in (25, 50):
            trackers.metrics(step, {{"train/loss": seed / step}})
        trackers.finish({{"validation/accuracy": 0.5 + seed / 10}})
"""
READ = """
import json
from trackio.sqlite_storage import SQLiteStorage as S
found = {{name: [S.get_logs("kdbench", name), S.get_run_config("kdbench", name)] for name in S.get_runs("kdbench")}}
print(json.dumps(found, default=str))
"""


def said(code: str, folder: Path) -> str:
    """Trackio takes its folder from the environment when it is imported: a process of its own."""
    environment = {**os.environ, "TRACKIO_DIR": str(folder / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", code.format(folder=folder)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_runs_in_one_process_are_two_runs_of_trackio(tmp_path: Path) -> None:
    assert said(LOG, tmp_path) == "", "its greeting holds a token"
    runs = json.loads(said(READ, tmp_path).strip().splitlines()[-1])
    assert set(runs) == {"run 1", "run 2"}
    for seed in (1, 2):
        logs, configuration = runs[f"run {seed}"]
        assert [(row["step"], row["train/loss"]) for row in logs if "train/loss" in row] == [
            (25, seed / 25),
            (50, seed / 50),
        ]
        assert logs[-1]["final/validation/accuracy"] == 0.5 + seed / 10
        assert configuration["axis/knowledge"] == "hidden" and configuration["seed"] == seed


def test_trackio_that_is_not_to_be_had_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with caplog.at_level(logging.WARNING), loggers(config("trackio"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
    (warned,) = [record.getMessage() for record in caplog.records]
    assert warned.startswith("Trackio could not start") and (tmp_path / "metrics.csv").is_file()
