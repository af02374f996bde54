"""Where the time of a training step goes, for any configuration, and what the plan expected of it."""

from __future__ import annotations

import time
from collections import Counter
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
from kdbench.teacher_outputs.obtain import substitutes
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

    def source(context: Context, reading: Reading, load: Callable[[], Model], _: object = None) -> TeacherOutputs:
        settings = context.cfg.teacher
        precisions, words = (settings.stored_in, settings.computed_in), substitutes(context, reading)
        live.append(TeacherOutputs(reading.taps, load(), (), *precisions, substitutes=words))
        return live[-1]

    module, stream = build_module(context, stage, source=source)
    module.to(context.device).train()
    for teacher in module.sources:
        teacher.to(context.device)
    optimizer = module.configure_optimizers()
    clock, batches, asked = _Clock(context.device), [], Counter[int]()
    waiting = iter(stream)
    for number in range(WARM_UP + steps):
        clock.counts = number >= WARM_UP
        with clock.part("data"):
            batch = next(waiting, None)
        if batch is None:
            break
        asked.update(_step(module, batch.to(context.device), optimizer, clock))
        batches.append(batch)
    real, padded = (sum(int(count(batch)) for batch in batches) for count in (_real, _padded))
    found = readings(context.cfg, context.plan).get(stage, ())
    split = context.side(stage).splits[SPLIT]
    epochs = module.steps / module.steps_per_epoch
    answered = Profile(clock.medians(), None, padded / real, None, module.steps, epochs, None)
    if not found:
        return answered
    files, expected = 0.0, [0.0, 0.0]
    for place, (reading, teacher) in enumerate(zip(found, live, strict=True)):
        share = asked[place] / len(batches)  # of the steps
        question = reading.question(context.store, split)
        rows, streams = share * module.settings.batch_size / len(split), tuple(question.taps)
        expected[0] += rows * question.seconds(streams)
        expected[1] += rows * question.read_seconds(streams)
        files += share * _files(context, reading, teacher, batches)
    choices = dict.fromkeys(str(reading.choose(context.store, split)) for reading in found)
    return replace(answered, files=files, expected=(expected[0], expected[1]), choice="; ".join(choices))


def _step(module: StudentModule, batch: Batch, optimizer: torch.optim.Optimizer, clock: _Clock) -> list[int]:
    """One step; the places of those who were asked."""
    with clock.part("teacher"):
        moment = module.moment(batch)
        said = module.ask(batch, moment)
    with clock.part("student"):
        learned = module.model(batch, module.student_taps)
    with clock.part("losses"):
        losses = module.compare(learned, said, moment)
    with clock.part("backward"):
        torch.autograd.backward(losses.sum())
    with clock.part("optimizer"):
        optimizer.step()
        optimizer.zero_grad()
        module.on_step()
        module.done += 1
    return list(said)


def _files(context: Context, reading: Reading, live: TeacherOutputs, batches: list[Batch]) -> float:
    """Seconds of reading one batch's outputs from files, which are written for these batches alone."""
    rows = context.side(reading.stage).splits[SPLIT]
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
