"""The loggers: what lies on the disk afterwards, and that W&B can fail without failing a run."""

from __future__ import annotations

import csv
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from kdbench.config import CONF_DIR
from kdbench.error import KdbenchError
from kdbench.logger import loggers
from kdbench.wandb_logger import _has_key
from tests.offline_wandb import read_run

AXES = {"knowledge": "hidden", "student/size": "l2_h128", "seed": "1"}


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B as on a machine without an account, whatever the machine of the test has."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def config(option: str, seed: int = 1, **wandb: Any) -> DictConfig:
    """A configuration whose node `logger` is composed of the group's own files."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        logger = compose(f"logger/{option}").logger
    if wandb:
        logger = OmegaConf.merge(logger, {"wandb": wandb})
    return OmegaConf.create({"seed": seed, "data": {"name": "glue/rte"}, "logger": logger})


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_is_there_at_once_and_takes_new_columns(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("Hydra's")
    with loggers(config("csv"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(25, {"train/loss": 0.5})
        assert rows(tmp_path / "metrics.csv") == [{"step": "25", "train/loss": "0.5"}]
        trackers.metrics(40, {"validation/accuracy": 0.75})
    assert rows(tmp_path / "metrics.csv")[1] == {"step": "40", "train/loss": "", "validation/accuracy": "0.75"}
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "tensorboard").exists()


def test_without_a_folder_nothing_is_started() -> None:
    with loggers(config("all"), None, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
        trackers.finish({"validation/accuracy": 0.5})
        assert trackers.lightning == ()


def test_a_trainer_takes_them_and_nothing_but_our_numbers_is_logged(tmp_path: Path) -> None:
    from pytorch_lightning import Trainer

    with loggers(config("all"), tmp_path, AXES, "run", None) as trackers:
        trainer = Trainer(logger=list(trackers.lightning), enable_checkpointing=False, accelerator="cpu")
        assert trainer.loggers == list(trackers.lightning)
        assert len(trainer.loggers) == 3
        for logger in trainer.loggers:
            logger.log_metrics({"train/loss": 2.0}, step=3)
            logger.finalize("success")
        trackers.metrics(5, {"train/loss": 1.0})  # a second stage goes on with the same loggers
    assert [row["train/loss"] for row in rows(tmp_path / "metrics.csv")] == ["2.0", "1.0"]
    assert read_run(tmp_path)["history"] == [{"step": 3, "train/loss": 2.0}, {"step": 5, "train/loss": 1.0}]


def test_tensorboard_has_scalars_and_the_axes(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with loggers(config("tensorboard"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(7, {"train/loss": 0.25})
        trackers.finish({"validation/accuracy": 0.75})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(7, 0.25)]
    assert [event.value for event in events.Scalars("validation/accuracy")] == [0.75]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


def test_two_runs_in_one_process_are_two_wandb_runs_of_their_own(tmp_path: Path) -> None:
    for seed in (1, 2):
        cfg = config("wandb", seed, tags=["study"], project="mine")
        with loggers(cfg, tmp_path / str(seed), {**AXES, "seed": str(seed)}, f"run {seed}", "sweep-1") as trackers:
            for step in (25, 50):
                trackers.metrics(step, {"train/loss": seed / step})
            trackers.finish({"validation/accuracy": 0.5 + seed / 10})
    for seed in (1, 2):
        found = read_run(tmp_path / str(seed))
        assert (found["group"], found["name"], found["tags"]) == ("sweep-1", f"run {seed}", ["study"])
        assert (found["project"], found["exit"]) == ("mine", 0)
        assert found["config"]["seed"] == seed
        assert found["config"]["data"] == {"name": "glue/rte"}
        assert found["config"]["axis/knowledge"] == "hidden"
        assert found["config"]["axis/student/size"] == "l2_h128"
        assert found["config"]["axis/seed"] == str(seed)
        assert found["summary"]["validation/accuracy"] == 0.5 + seed / 10
        assert found["history"] == [{"step": step, "train/loss": seed / step} for step in (25, 50)]


def test_a_failing_run_ends_with_exit_code_1_and_its_exception(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), loggers(config("all"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
        raise ZeroDivisionError
    assert read_run(tmp_path)["exit"] == 1
    assert len(rows(tmp_path / "metrics.csv")) == 1


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes that wandb.init is asked for; online is refused, as without a network."""
    import wandb

    asked: list[str] = []
    begin = wandb.init

    def init(mode: str, **options: Any) -> Any:
        asked.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("Run initialization has timed out")
        return begin(mode=mode, **options)

    monkeypatch.setattr(wandb, "init", init)
    return asked


@pytest.mark.parametrize(
    ("mode", "environment", "asked"),
    [
        ("auto", {}, ["offline"]),
        ("auto", {"WANDB_API_KEY": "k" * 40}, ["online", "offline"]),
        ("auto", {"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "disabled"}, ["disabled"]),
        ("offline", {"WANDB_API_KEY": "k" * 40}, ["offline"]),
        ("online", {}, ["online", "offline"]),
    ],
)
def test_mode(
    mode: str,
    environment: dict[str, str],
    asked: list[str],
    modes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING), loggers(config("wandb", mode=mode), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
    assert modes == asked
    warned = [record.getMessage() for record in caplog.records if record.name == "kdbench.tracker"]
    assert len(warned) == len(asked) - 1
    if "online" in asked:
        assert "timed out" in warned[0]
        assert read_run(tmp_path)["history"] == [{"step": 1, "train/loss": 1.0}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", False),
        ("machine api.wandb.ai\n login user\n password 0123456789\n", True),
        ("machine elsewhere.org\n login user\n password 0123456789\n", False),
        ("machine api.wandb.ai login", False),
    ],
)
def test_a_key_in_the_netrc_file_is_found(content: str, found: bool, tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text(content)
    file.chmod(0o600)
    assert _has_key() is found


def test_wandb_that_fails_in_the_middle_does_not_fail_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        id = "x"

        def log(self, values: object) -> None:
            raise BrokenPipeError("the service is gone")

        def finish(self, exit_code: int) -> None:
            raise BrokenPipeError("the service is gone")

    with loggers(config("wandb"), tmp_path, AXES, "run", None) as trackers:
        tracker: Any = trackers.lightning[1]

        def breaks(run: Any) -> None:
            run.finish()
            tracker._run = Broken()

        tracker.attempt(breaks)
        for step in range(3):
            trackers.metrics(step, {"train/loss": 1.0})
        trackers.finish({"validation/accuracy": 0.5})
    assert [record.getMessage() for record in caplog.records if record.name == "kdbench.tracker"] == [
        "W&B failed (the service is gone); the run goes on without it"
    ]
    assert len(rows(tmp_path / "metrics.csv")) == 3


def test_a_wandb_that_is_slow_to_start_holds_nothing_up_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    may_start, begin = threading.Event(), wandb.init

    def init(**options: Any) -> Any:
        assert may_start.wait(60)
        return begin(**options)

    monkeypatch.setattr(wandb, "init", init)
    with loggers(config("wandb"), tmp_path, AXES, "run", None) as trackers:
        values = {"train/loss": 1.0}
        for step in range(1, 4):
            trackers.metrics(step, values)
        trackers.finish({"validation/accuracy": 0.5})
        values["train/loss"] = 2.0  # what was told is what it was then
        assert not (tmp_path / "wandb").exists() or not list((tmp_path / "wandb").glob("offline-run-*"))
        may_start.set()
    found = read_run(tmp_path)
    assert found["history"] == [{"step": step, "train/loss": 1.0} for step in (1, 2, 3)]
    assert found["summary"]["validation/accuracy"] == 0.5 and found["exit"] == 0


def test_wandb_that_is_not_to_be_had_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with loggers(config("wandb"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
    assert len(caplog.records) == 1
    assert "the run goes on without W&B" in caplog.text


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    cfg = config("wandb", mode="onlin")
    refused = pytest.raises(KdbenchError, match=r"logger\.wandb\.mode=onlin is unknown; choose one of auto")
    with refused, loggers(cfg, tmp_path, AXES, "run", None):
        pass


def test_without_wandb_it_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    with loggers(config("tensorboard"), tmp_path, AXES, "run", None) as trackers:
        trackers.metrics(1, {"train/loss": 1.0})
        trackers.finish({"validation/accuracy": 1.0})
    assert len(rows(tmp_path / "metrics.csv")) == 1
