"""The teacher's artefact: fine-tuned once on a task, with its scores and predictions beside it."""

from __future__ import annotations

import functools
import logging
import random
from pathlib import Path

import numpy as np
import torch

from kdbench import cost, encoder
from kdbench.config import instantiate, plain
from kdbench.context import TeacherContext
from kdbench.encoder import Encoder
from kdbench.error import KdbenchError
from kdbench.module.fit import fit
from kdbench.module.guards import tokenizer_fits
from kdbench.module.teacher import TeacherModule
from kdbench.module.training import BatchStream, Training
from kdbench.seeds import derive
from kdbench.store import read_json, write_json

log = logging.getLogger(__name__)


def seed_everything(seed: int, purpose: str) -> None:
    """Set every global generator for one purpose of a run, so that no earlier job of a sweep leaks into it."""
    derived = derive(seed, purpose)
    torch.manual_seed(derived)
    random.seed(derived)
    np.random.seed(derived % 2**32)


def load_teacher(folder: Path) -> Encoder:
    """A finished teacher, in evaluation mode, frozen and whole.

    The last one is kept for the next job of a sweep in this process, which mostly asks for the same.
    """
    states = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir()))
    teacher = _loaded(folder, states)
    teacher.stop_after(teacher.shape.layers)
    return teacher


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, states: tuple[tuple[str, int, int], ...]) -> Encoder:
    teacher = encoder.from_folder(folder)
    teacher.eval().requires_grad_(False)
    return teacher


def build_teacher(context: TeacherContext, folder: Path) -> None:
    """Fine-tune the teacher into `folder`: a Hugging Face folder with record.json and the predictions of each split."""
    cfg, task = context.cfg, context.task
    seed_everything(cfg.teacher.seed, "teacher")
    source = context.plan.checked.teacher_folder
    model = encoder.from_folder(source, head=task.labels if cfg.teacher.train else None)
    tokenizer_fits(len(context.tokenizer), model.model.config.vocab_size, f"teacher.model={cfg.teacher.model}")
    history: list[dict[str, float]] = []
    if cfg.teacher.train:
        history = _fine_tune(context, model, folder)
    model.to(context.device)
    metrics: dict[str, float] = {}
    for split in context.splits:
        if split == "train":
            continue
        logits = context.logits(model, split)
        np.save(folder / f"predictions.{split}.npy", logits)
        if context.labelled(split):
            metrics |= context.score(logits, split)
    model.model.config.kdbench_task = task.name
    model.save(folder)
    context.tokenizer.save_pretrained(folder)
    record = {
        "label": f"{cfg.teacher.model} on {task.name}",
        "metrics": metrics,
        "built_from": context.plan.signatures("data"),
        "history": history,
        "cost": cost.measure(model.cpu()),
        "config": plain(cfg.teacher),
        "seconds": {name: value for name, value in context.seconds.items() if name == "teacher"},
    }
    write_json(folder / "record.json", record)


def _fine_tune(context: TeacherContext, model: Encoder, folder: Path) -> list[dict[str, float]]:
    cfg = context.cfg
    training = Training.from_config(plain(cfg.teacher.training), "teacher.training")
    rows = context.splits["train"]
    if not rows.labelled.any():
        raise KdbenchError(
            f"{context.task.name} has no labelled training rows to fine-tune a teacher on: give data.label, or a "
            "teacher that is fine-tuned already with teacher=fine_tuned"
        )
    if not rows.labelled.all():  # the rows that only a student learns from
        rows = rows.take(np.flatnonzero(rows.labelled))
    steps = training.steps(len(rows))
    log.info("fine-tuning %s on %s: %d rows, %d steps", cfg.teacher.model, context.task.name, len(rows), steps)
    module = TeacherModule(
        model, instantiate(cfg.teacher.optimizer), instantiate(cfg.teacher.lr_schedule), training, steps
    )
    stream = BatchStream(rows, training, cfg.teacher.seed, context.tokenizer.pad_token_id)
    done = fit(
        module,
        stream,
        lambda: context.evaluate(model),
        context.task.score,
        folder,
        context.lightning_accelerator,
        cfg.precision.name,
    )
    return done.history


def teacher_record(folder: Path) -> dict[str, object]:
    """The record beside a finished teacher."""
    record = read_json(folder / "record.json")
    assert isinstance(record, dict)
    return record
