"""A sweep as the engine of kdbench runs it in one process.

In: the pass of the teacher that writes its outputs to files, then for each student its weights, its terms, the opening
of the files, `fit` under the Trainer with its resumable checkpoints, and the file of its weights. Out, as on every
other side: loading the teacher, tokenising, evaluating. Out on this side alone: composing the configuration, the
preflight check of two batches and the record of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from benchmarks.models import STUDENT, encoder
from benchmarks.task import CLIP_NORM, LEARNING_RATE, PADDING_ID, WEIGHT_DECAY, Gradient, Task, gradient_of
from kdbench import lr_schedule
from kdbench.config import plain
from kdbench.data.batch import collate
from kdbench.data.split import Split
from kdbench.encoder.base import Encoder
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.matching.pairing import Pairing
from kdbench.module.fit import RESUME, fit
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import BatchStream, Training
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import Stream, Taps
from kdbench.projection.to_teacher import ToTeacher
from kdbench.shape import Shape
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import Precision, name
from kdbench.term import Term

Batching = Literal["grouped", "exact"]
Computed = Literal["f32", "bf16"]
Outputs = Callable[[], TeacherOutputs]
"""Opens a teacher's outputs, as every student does."""

PRECISION: Precision = "f16"
SEED = 1
DEFAULTS = Path(__file__).parents[1] / "conf/training/default.yaml"
ABOUT = {"of": "a benchmark"}


def terms_of(task: Task, student: int) -> list[Term]:
    """The losses of one student of a task."""
    soft = partial(soft_cross_entropy, temperature=task.temperature(student))
    terms = [Term("label", Label(), cross_entropy), Term("soft", Logits(), soft)]
    if not task.full:
        return terms
    pairs = [(0, 0), *task.pairs]
    widths = STUDENT[1], task.teacher[1]
    projection = ToTeacher(*widths, [ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return [
        *terms,
        Term("hidden", Hidden(), mse, Pairing(pairs), projection),
        Term("attention", Attention("probabilities"), mse, Pairing(task.pairs)),
    ]


def training_of(task: Task, batching: Batching) -> Training:
    """The repository's defaults, with the sizes of the task."""
    defaults = plain(OmegaConf.load(DEFAULTS))
    sizes = {"epochs": task.epochs, "batch_size": task.batch_size, "batching": batching, "keep": "last"}
    return Training.from_config({**defaults, **sizes, "clip_norm": CLIP_NORM})


def student_of(task: Task, student: int, source: TeacherOutputs, training: Training) -> StudentModule:
    """A student with its losses and optimizer, ready to be trained."""
    return StudentModule(
        encoder(STUDENT, student),
        [source],
        terms_of(task, student),
        partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True),
        partial(lr_schedule.linear),
        training,
        task.steps,
    )


def taps_of(task: Task) -> Taps:
    return teacher_taps(terms_of(task, 0))


def write_outputs(
    task: Task, split: Split, teacher: Encoder, folder: Path, device: str = "cpu", computed_in: Computed = "f32"
) -> Outputs:
    """Run the teacher over all rows once and keep what the losses read of it; returns what opens the files."""
    taps = taps_of(task)
    folders = folders_of(taps, folder)
    for place in folders.values():
        place.mkdir(parents=True, exist_ok=True)
    source = TeacherOutputs(taps, teacher, computed_in=computed_in).to(device)
    fill(source, split, folders, teacher.shape, PRECISION, PADDING_ID, device, ABOUT)
    return lambda: TeacherOutputs(taps, None, [opened(taps, split, teacher.shape, folder)], PRECISION)


def folders_of(taps: Taps, folder: Path) -> dict[Stream, Path]:
    return {stream: folder / name(stream) for stream in taps}


def opened(taps: Taps, split: Split, teacher: Shape, folder: Path) -> CachedOutputs:
    """Files that were written for at least these taps."""
    return CachedOutputs(folders_of(taps, folder), split, teacher, PRECISION, {})


def live_outputs(
    task: Task, teacher: Encoder, computed_in: Computed = "f32", rounded_to: Precision = PRECISION
) -> Outputs:
    """A teacher at every step, whose outputs are rounded as the files would be."""
    return lambda: TeacherOutputs(taps_of(task), teacher, (), rounded_to, computed_in)


def train(
    task: Task,
    student: int,
    split: Split,
    outputs: Outputs,
    folder: Path,
    batching: Batching,
    device: str = "cpu",
    precision: Computed = "f32",
) -> None:
    """One student from fresh weights to their file."""
    training = training_of(task, batching)
    module = student_of(task, student, outputs(), training)
    stream = BatchStream(split, training, SEED, PADDING_ID)
    accelerator = "gpu" if device == "cuda" else "cpu"
    fit(module, stream, lambda: {"score": 0.0}, "score", folder, accelerator, precision)
    (folder / RESUME).unlink(missing_ok=True)
    weights = {key: value.cpu().contiguous() for key, value in module.model.state_dict().items()}
    save_file(weights, folder / "student.safetensors")


def sweep(task: Task, split: Split, teacher: Encoder, folder: Path, batching: Batching) -> None:
    """All students of a task, taught by files of the teacher's outputs."""
    outputs = write_outputs(task, split, teacher, folder / "outputs")
    for student in range(task.students):
        train(task, student, split, outputs, folder, batching)


def gradient(task: Task, split: Split, outputs: Outputs) -> tuple[Gradient, StudentModule]:
    """Loss and gradient of the first student on all rows of a split, without dropout."""
    module = student_of(task, 1, outputs(), training_of(task, "exact"))
    module.eval()
    batch = collate(split, split.index, PADDING_ID)
    return gradient_of(module.losses(batch).sum(), module.model), module
