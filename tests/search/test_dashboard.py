"""optuna-dashboard on a study of ours, in a browser: its charts are there, and nothing is asked of a network."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from kdbench.search.sampler import make_sampler
from kdbench.search.storage import lock_of, open_storage
from kdbench.search.study import Slots, open_study


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard of a study of twelve trials, every third of which was pruned."""
    file = str(tmp_path / "studies.db")
    study = open_study(open_storage(file), "search-1", ["maximize"], {"space": "a"}, optuna.pruners.NopPruner())
    slots = Slots(study, 12, make_sampler({"name": "random", "seed": 1}, 1, False), lock=partial(lock_of, file))
    slots.fill()
    while (trial := slots.take()) is not None:
        rate = trial.suggest_float("optimizer.lr", 1e-5, 1e-2, log=True)
        method = trial.suggest_categorical("method", ["label", "kd"])
        for step in range(1, 4):
            trial.report(0.5 + rate * step + (method == "kd") * 0.1, step)
        pruned = trial.number % 3 == 2
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if pruned else 0.5 + rate + (method == "kd") * 0.1, state=state)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from optuna_dashboard._cli import main; main()"
    command = [sys.executable, "-c", program, f"sqlite:///{file}", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/dashboard"
    finally:
        process.kill()
        process.wait()


def test_a_study_and_its_trials(dashboard: str, browser: Any) -> None:
    browser.goto(dashboard)
    browser.get_by_text("search-1").first.click()
    browser.locator("#history-plot, .js-plotly-plot").first.wait_for(timeout=60_000)
    assert browser.locator(".js-plotly-plot .main-svg").count() > 0
    browser.goto(browser.url.rstrip("/") + "/trials")
    browser.get_by_text("Trial 0").first.wait_for(timeout=60_000)
    assert browser.get_by_text("pruned", exact=False).count() > 0
