"""What a step costs with a team of one and of five teachers, whose logits lie in files: the same, whoever is drawn.

The same student, rows, terms of logits and optimizer under kdbench's Trainer; a turn counts as its median step.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytorch_lightning as pl
import torch

from benchmarks.line import Line
from benchmarks.measure import in_turns, spread
from benchmarks.models import STUDENT, TEACHER, encoder, frozen
from benchmarks.step_overhead import Loader, median_step, optimizer
from benchmarks.task import PADDING_ID, Task
from benchmarks.with_kdbench import SEED, training_of
from kdbench import lr_schedule
from kdbench.combiner.drawn import Drawn
from kdbench.combiner.mean import MeanProbabilities
from kdbench.data.batch import Batch
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.module.student import StudentModule
from kdbench.module.training import BatchStream
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import Taps
from kdbench.sampling.base import Draws
from kdbench.sampling.uniform import Uniform
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import name
from kdbench.team_term import TeamTerm
from kdbench.term import Term

LOGITS, TEAM = Taps(logits=True), 5
MOST = 1.10


def lines(full: bool) -> list[Line]:
    task = Task(1, 1, 32 * (20 if full else 12), full=False)
    with TemporaryDirectory() as root:
        sources = [written(task, place, Path(root)) for place in range(TEAM)]
        batches = list(BatchStream(task.split, training_of(task, "grouped"), SEED, PADDING_ID))
        ways = {
            "one": partial(trained, task, batches, sources[:1], Drawn),
            "five, drawn": partial(trained, task, batches, sources, Drawn),
            "five, averaged": partial(trained, task, batches, sources, MeanProbabilities),
        }
        times = in_turns({way: partial(median_step, work) for way, work in ways.items()}, 9 if full else 3)
    return [
        Line(
            "team",
            f"a step with a team of {way}, cached logits",
            "a team of one",
            spread([ours / alone for ours, alone in zip(times[way], times["one"], strict=True)]),
            MOST,
            at_most=True,
            details={"milliseconds_a_step": {side: 1000 * spread(values)[0] for side, values in times.items()}},
        )
        for way in list(ways)[1:]
    ]


def written(task: Task, seed: int, root: Path) -> TeacherOutputs:
    """A teacher's logits in files."""
    teacher, split = frozen(encoder(TEACHER, seed)), task.split
    folders = {stream: root / str(seed) / name(stream) for stream in LOGITS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    fill(
        TeacherOutputs(LOGITS, teacher), split, folders, teacher.shape, "f16", PADDING_ID, "cpu", {"of": "a benchmark"}
    )
    return TeacherOutputs(LOGITS, None, [CachedOutputs(folders, split, teacher.shape, "f16", {})], "f16")


def trained(
    task: Task, batches: list[Batch], sources: list[TeacherOutputs], combiner: type[Drawn] | type[MeanProbabilities]
) -> None:
    """A student taught by these teachers for as many steps as there are batches."""
    soft = partial(soft_cross_entropy, temperature=2.0)
    student, teacher = encoder(STUDENT, 1), frozen(encoder((1, 32), 0)).shape
    count = len(sources)
    module = StudentModule(
        student,
        sources,
        [Term("label", Label(), cross_entropy), TeamTerm([Term("soft", Logits(), soft) for _ in sources])],
        optimizer,
        partial(lr_schedule.linear),
        training_of(task, "grouped"),
        len(batches),
        combiner=combiner(Draws(Uniform(), np.full(count, 1 / count), 0), [teacher] * count),
    )
    module.train()
    torch.manual_seed(0)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_model_summary=False, enable_progress_bar=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, train_dataloaders=Loader(batches))
