"""Schedules in a training: chosen on the command line, in force at every step, and the same after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import kdbench
from kdbench.config import compose
from kdbench.module.student import StudentModule

Overrides = Callable[..., list[str]]
WEIGHT, LABEL = "stages.task.terms.soft.schedule.weight", "stages.task.terms.label.schedule.weight"
TEMPERATURE = "stages.task.terms.soft.schedule.temperature"
CONTINUATION = [
    "method=kd",
    f"+schedule@{WEIGHT}=linear",
    f"{WEIGHT}.end=0.5",
    f"{WEIGHT}.until=0.6",
    f"{WEIGHT}.after=0",
    f"+schedule@{LABEL}=linear",
    f"{LABEL}.start=0",
    f"{LABEL}.end=0.5",
    f"{LABEL}.until=0.6",
    f"{LABEL}.after=1",
    f"+schedule@{TEMPERATURE}=cosine",
    f"{TEMPERATURE}.start=4",
    f"{TEMPERATURE}.end=1",
]


def test_the_command_line_schedules_weights_and_options() -> None:
    cfg = compose([*CONTINUATION, "data=generated"])
    soft = cfg.stages.task.terms.soft.schedule
    assert soft.weight._target_ == "kdbench.schedule.linear.linear" and soft.weight.after == 0
    assert soft.temperature._target_ == "kdbench.schedule.cosine.cosine" and soft.temperature.end == 1
    transfer = "stages.task.terms.transfer.schedule.temperature"
    cfg = compose([f"+schedule@{transfer}=cosine", "method=unified", "objective=kl", "data=generated"])
    assert cfg.stages.task.terms.transfer.schedule.temperature.start == 1.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the file, so that its teacher is fine-tuned once."""
    return f"paths.store={tmp_path_factory.mktemp('store')}"


@pytest.mark.parametrize("schedule", ["constant", "linear", "step", "cosine", "window"])
def test_every_schedule_trains(tiny: Overrides, store: str, schedule: str) -> None:
    overrides = tiny("method=kd", f"+schedule@{WEIGHT}={schedule}", "training.max_steps=2", "data.train_rows=64",
                     "training.log_every_steps=1", store)  # fmt: skip
    record = kdbench.run(compose(overrides))
    losses = [entry["train/term/soft"] for entry in record["history"] if "train/term/soft" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    assert record["config"]["stages"]["task"]["terms"]["soft"]["schedule"]["weight"]["_target_"].endswith(schedule)
    assert (losses[-1] == 0.0) == (schedule in ("linear", "cosine")), "what has fallen to 0 is 0 at the last step"


class Killed(Exception):
    """Stands for a kill inside one process."""


def recorded(monkeypatch: pytest.MonkeyPatch, until: int | None = None) -> dict[int, dict[str, Any]]:
    """What is in force at each step of trainings to come, which end before step `until`."""
    seen: dict[int, dict[str, Any]] = {}
    losses = StudentModule.losses

    def watched(module: StudentModule, batch: Any, micro_batch: int) -> Tensor:
        if module.done == until:
            raise Killed
        found = losses(module, batch, micro_batch)
        progress = module.progress
        seen[module.done] = {
            "weights": [term.weight_at(progress) for term in module._terms],
            "temperature": [schedule(progress.share) for term in module._terms for schedule in term.schedules.values()],
            "losses": found.tolist(),
        }
        return found

    monkeypatch.setattr(StudentModule, "losses", watched)
    return seen


def test_what_is_in_force_changes_with_the_steps_and_survives_an_interruption(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = tiny(*CONTINUATION, "training.epochs=2", "training.checkpoint_every_steps=3", "guards.preflight=false")
    with monkeypatch.context() as patch:
        whole = recorded(patch)
        kdbench.run(compose([*overrides, f"paths.store={tmp_path / 'undisturbed'}"]))
    steps = len(whole)
    assert steps == 16 and list(whole) == list(range(steps))
    for done, seen in whole.items():
        share = done / (steps - 1)
        psi = share * 0.5 / 0.6 if share <= 0.6 else 1.0
        assert seen["weights"] == pytest.approx([psi, 1 - psi])
        assert seen["temperature"] == pytest.approx([2.5 + 1.5 * math.cos(math.pi * share)])
        assert all((weight == 0) == (loss == 0) for weight, loss in zip(seen["weights"], seen["losses"], strict=True))

    with monkeypatch.context() as patch:
        before = recorded(patch, until=7)
        with pytest.raises(Killed):
            kdbench.run(compose(overrides))
    with monkeypatch.context() as patch:
        after = recorded(patch)
        kdbench.run(compose(overrides))
    assert min(after) == 6 == max(before), "it goes on at the checkpoint, not at the beginning"
    assert {**before, **after} == whole
