"""Where the time of a training step goes, for any configuration, and what the plan expected of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from kdbench.context import Context
from kdbench.data.batch import Batch
from kdbench.model import Model
from kdbench.module.student import StudentModule
from kdbench.stage import build_module
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.reading import SPLIT, Reading, readings
from kdbench.teacher_outputs.source import TeacherOutputs

PARTS = ("data", "teacher", "student", "losses", "backward", "optimizer")
WARM_UP = 2


@dataclass(frozen=True)
class Profile:
    """Medians over the steps of one stage.

    Attributes:
        seconds: of each part of a step, with a live teacher.
        files: seconds of reading the teacher's outputs from files instead; None where no term reads any.
        padding: padded tokens per real token.
        expected: the plan's seconds a step for the live teacher and for files.
        steps: of the whole stage.
        epochs: of the whole stage.
        choice: what the plan would do.
    """

    seconds: dict[str, float]
    files: float | None
    padding: float
    expected: tuple[float, float] | None
    steps: int
    epochs: float
    choice: str | None

    def hours(self, runs: int) -> tuple[float, float]:
        """Hours of so many such runs: each with a live teacher, and all with one teacher's files."""
        teacher, step = self.seconds["teacher"], sum(self.seconds.values())
        live = runs * self.steps * step
        once = self.steps / self.epochs * teacher
        return live / 3600, (once + runs * self.steps * (step - teacher + (self.files or 0.0))) / 3600


def profile(context: Context, stage: str, steps: int = 20) -> Profile:
    """Time the parts of a stage's steps on its own data, teacher and student; nothing is kept.

    Args:
        context: prepared.
        stage: the key of a stage.
        steps: timed ones.
    """
    live: list[TeacherOutputs] = []

    def source(context: Context, reading: Reading, load: Callable[[], Model]) -> TeacherOutputs:
        settings = context.cfg.teacher
        live.append(TeacherOutputs(reading.taps, load(), (), settings.stored_in, settings.computed_in))
        return live[0]

    module, stream = build_module(context, stage, source=source)
    module.to(context.device).train()
    if module.source is not None:
        module.source.to(context.device)
    optimizer = module.configure_optimizers()
    clock, batches = _Clock(context.device), []
    waiting = iter(stream)
    for number in range(WARM_UP + steps):
        clock.counts = number >= WARM_UP
        with clock.part("data"):
            batch = next(waiting, None)
        if batch is None:
            break
        _step(module, batch.to(context.device), optimizer, clock)
        batches.append(batch)
    real, padded = (sum(int(count(batch)) for batch in batches) for count in (_real, _padded))
    reading = readings(context.cfg, context.plan).get(stage)
    rows = context.splits[SPLIT]
    epochs = module.steps / module.steps_per_epoch
    answered = Profile(clock.medians(), None, padded / real, None, module.steps, epochs, None)
    if reading is None:
        return answered
    question = reading.question(context.store, rows.lengths)
    share = module.settings.batch_size / len(rows)
    streams = tuple(question.taps)
    expected = (question.seconds(streams) * share, question.read_seconds(streams) * share)
    files = _files(context, reading, live[0], batches)
    return replace(answered, files=files, expected=expected, choice=str(reading.choose(context.store, rows.lengths)))


def _step(module: StudentModule, batch: Batch, optimizer: torch.optim.Optimizer, clock: _Clock) -> None:
    with clock.part("teacher"):
        target = None if module.source is None else module.source(batch)
    with clock.part("student"):
        learned = module.model(batch, module.student_taps)
    with clock.part("losses"):
        losses = module.compare(learned, target)
    with clock.part("backward"):
        torch.autograd.backward(losses.sum())
    with clock.part("optimizer"):
        optimizer.step()
        optimizer.zero_grad()


def _files(context: Context, reading: Reading, live: TeacherOutputs, batches: list[Batch]) -> float:
    """Seconds of reading one batch's outputs from files, which are written for these batches alone."""
    rows = context.splits[SPLIT]
    picked = rows.take(np.flatnonzero(np.isin(rows.index, torch.cat([batch.index for batch in batches]).numpy())))
    clock = _Clock(context.device)
    with TemporaryDirectory() as root:
        folders = {stream: Path(root) / f"{stream[0]}.{stream[1]}" for stream in reading.taps}
        for folder in folders.values():
            folder.mkdir()
        precision, padding_id = context.cfg.teacher.stored_in, context.tokenizer.pad_token_id
        fill(live, picked, folders, reading.shape, precision, padding_id, context.device, {"of": reading.label})
        kept = CachedOutputs(folders, picked, reading.shape, precision, {})
        for batch in batches:
            moved = batch.to(context.device)
            with clock.part("files"):
                kept(moved)
    return clock.medians()["files"]


def _real(batch: Batch) -> int:
    return int(batch.attention_mask.sum())


def _padded(batch: Batch) -> int:
    return batch.attention_mask.numel()


class _Clock:
    """Seconds by part."""

    def __init__(self, device: str) -> None:
        self.device, self.counts = device, True
        self.times: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        if self.counts:
            self.times.setdefault(name, []).append(time.perf_counter() - start)

    def medians(self) -> dict[str, float]:
        return {name: median(found) for name, found in self.times.items()}

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
