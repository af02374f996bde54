"""The teacher's artefact: fine-tuned once on a task, with its scores and predictions beside it."""

from __future__ import annotations

import functools
import logging
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from kdbench import cost
from kdbench.augmentation.base import variant_of
from kdbench.config import instantiate, plain
from kdbench.context import TeacherContext
from kdbench.data.split import Split
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_folder
from kdbench.error import KdbenchError
from kdbench.head import Head
from kdbench.language import begins_with_language, language_cfg
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


def load_teacher(folder: Path, head: Head) -> Encoder:
    """A finished teacher with the head that its data asks for, in evaluation mode, frozen and whole.

    The last ones are kept for the next job of a sweep in this process, which mostly asks for the same.
    """
    states = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir()))
    teacher = _loaded(folder, states, head)
    teacher.stop_after(teacher.shape.layers)
    return teacher


@functools.lru_cache(maxsize=2)  # that of the corpus and that of the task
def _loaded(folder: Path, states: tuple[tuple[str, int, int], ...], head: Head) -> Encoder:
    teacher = from_folder(folder, head)
    teacher.eval().requires_grad_(False)
    return teacher


def build_teacher(context: TeacherContext, folder: Path) -> None:
    """Train the teacher into `folder`: a Hugging Face folder with record.json and the predictions of each split."""
    task = context.task
    cfg = language_cfg(context.cfg) if task.is_corpus else context.cfg
    seed_everything(cfg.teacher.seed, "teacher")
    # A task is answered by the head of the language model; on a corpus, and of classes, it begins afresh.
    begins = context.plan.checked.teacher_folder
    if begins_with_language(cfg):
        assert context.language is not None
        begins = context.language.teacher_path
    fresh = cfg.teacher.train and task.cloze is None
    model = from_folder(begins, task.head(context.tokenizer), fresh)
    tokenizer_fits(len(context.tokenizer), model.model.config.vocab_size, f"teacher.model={cfg.teacher.model}")
    history: list[dict[str, float]] = []
    if cfg.teacher.train:
        history = _fine_tune(context, cfg, model, folder)
    model.to(context.device)
    metrics = context.evaluate_all(model, folder)
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
    }
    write_json(folder / "record.json", record)


def _fine_tune(context: TeacherContext, cfg: DictConfig, model: Encoder, folder: Path) -> list[dict[str, float]]:
    training = Training.from_config(plain(cfg.teacher.training), "teacher.training")
    rows = context.splits["train"]
    if not context.task.is_corpus:
        rows = _labelled(rows, context.task.name)
    steps = training.steps(len(rows))
    log.info("training %s on %s: %d rows, %d steps", cfg.teacher.model, context.task.name, len(rows), steps)
    module = TeacherModule(
        model, instantiate(cfg.teacher.optimizer), instantiate(cfg.teacher.lr_schedule), training, steps
    )
    stream = BatchStream(rows, training, cfg.teacher.seed, context.tokenizer.pad_token_id)
    if context.task.is_corpus:
        stream = replace(stream, variant=variant_of(instantiate(cfg.data.masking), rows, context.tokenizer))
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


def _labelled(rows: Split, task: str) -> Split:
    """The rows with a label; the others are for students alone."""
    if not rows.labelled.any():
        raise KdbenchError(
            f"{task} has no labelled training rows to fine-tune a teacher on: give data.label, or a teacher that is "
            "fine-tuned already with teacher=fine_tuned"
        )
    return rows if rows.labelled.all() else rows.take(np.flatnonzero(rows.labelled))


def teacher_record(folder: Path) -> dict[str, object]:
    """The record beside a finished teacher."""
    record = read_json(folder / "record.json")
    assert isinstance(record, dict)
    return record
