"""The front `kdbench`: how a run that another process computed ends, a closed pipe, a sweep's sentence as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kdbench
from kdbench import planning, train
from kdbench.outcome import Outcome
from kdbench.plan import RunPlan

Overrides = Callable[..., list[str]]
COMMAND = Path(sys.executable).with_name("kdbench")
QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What the jobs of the front hand back."""
    found: list[Outcome] = []
    job = train.job
    monkeypatch.setattr(train, "job", lambda cfg: found.append(job(cfg)) or found[-1])
    return found


def front(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["kdbench", *arguments, f"hydra.run.dir={folder / 'run'}", *QUIET])
    train.main()


def test_a_run_is_finished_and_then_reused(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: list[Outcome]
) -> None:
    for _ in range(2):
        front(monkeypatch, tmp_path, *tiny("training.max_steps=2"))
    assert [outcome.status for outcome in outcomes] == ["finished", "reused"]
    assert outcomes[0].signature == outcomes[1].signature and outcomes[0].score == outcomes[1].score


def test_a_run_that_another_process_computed_meanwhile_is_reused(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: list[Outcome]
) -> None:
    """Between the plan and the store's lock, as when two sweeps share a run and one of them waits."""
    planned = planning.plan_run

    def and_then_another(cfg: Any, store: Any) -> RunPlan:
        before = planned(cfg, store)
        monkeypatch.setattr(planning, "plan_run", planned)
        kdbench.run(cfg)
        return before

    monkeypatch.setattr(planning, "plan_run", and_then_another)
    front(monkeypatch, tmp_path, *tiny("training.max_steps=2"))
    assert [outcome.status for outcome in outcomes] == ["reused"]
    assert outcomes[0].score is not None


@pytest.mark.parametrize("flag", ["--help", "--hydra-help"])
def test_a_reader_that_has_enough_ends_the_command_without_a_word(flag: str) -> None:
    """As `kdbench --help | head -3`, where the pipe is closed before anything is written."""
    with subprocess.Popen([str(COMMAND), flag], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_sweep_says_its_own_sentence(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A `SweepError` is one of Hydra's exceptions too, whose sentences end in another way out."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit):
        front(monkeypatch, tmp_path, "-m", *tiny("knowledge=hidden", "student.heads=3"))
    err = capfd.readouterr().err
    assert err.startswith("kdbench: none of the 1 cells of this sweep can run; the first because ")
    assert "kdbench --help" not in err and err.count("\n") == 1
