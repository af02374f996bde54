"""The artefact of a stage: a student, from where it begins to its kept weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file

from kdbench.augmentation.base import Augmentation
from kdbench.combiner.base import Combiner
from kdbench.config import instantiate, plain
from kdbench.context import Context
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.initialization.base import Initialization
from kdbench.model import Model
from kdbench.module import guards
from kdbench.module.fit import Fit, fit
from kdbench.module.student import StudentModule
from kdbench.module.training import BatchStream, Training
from kdbench.plan import Teacher
from kdbench.sampling.base import Draws
from kdbench.seeds import derive
from kdbench.shape import Shape
from kdbench.store import write_json
from kdbench.teacher import load_teacher, seed_everything, teacher_record
from kdbench.teacher_outputs.obtain import obtain
from kdbench.teacher_outputs.reading import Reading, readings
from kdbench.teacher_outputs.resident import Residents
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teaching import combiner_of, sampling_of
from kdbench.terms import build_terms

log = logging.getLogger(__name__)

WEIGHTS = "student.safetensors"
Source = Callable[[Context, Reading, Callable[[], Model], Residents | None], TeacherOutputs]


def build_student(cfg: DictConfig, task: Task, tokenizer: Any) -> Model:
    """The student's architecture with fresh weights, drawn from torch's generator."""
    model: Model = instantiate(
        cfg.student, vocabulary=len(tokenizer), labels=list(task.labels), padding_id=tokenizer.pad_token_id
    )
    return model


def load_weights(model: Model, stage: Path) -> None:
    """Put a finished stage's weights into a student of the same architecture."""
    model.load_state_dict(load_file(stage / WEIGHTS))


def build_module(
    context: Context, name: str, previous: Path | None = None, source: Source = obtain
) -> tuple[StudentModule, BatchStream]:
    """A stage's student with its terms, optimizer and teacher outputs, and the batches it learns from.

    Args:
        context: the run in the making.
        name: the stage's key.
        previous: the finished stage before it; None for the first, which begins at the initialization.
        source: opens the teacher's outputs.
    """
    cfg = context.cfg
    stage = plain(cfg.stages[name])
    initialization: Initialization = instantiate(cfg.initialization)
    seed_everything(cfg.seed, "weights")
    student = build_student(cfg, context.task, context.tokenizer)
    found = readings(cfg, context.plan).get(name, ())
    shapes = [teacher.shape for teacher in context.plan.teachers] if found else [context.plan.checked.teacher]
    team = bool(found) and cfg.team is not None
    terms = build_terms(name, stage["terms"], student.shape, shapes, cfg.seed, cfg.fused, team)
    if previous is None:
        begins_with = load_teacher(context.teacher_path) if initialization.needs_teacher else None
        initialization.initialize(student, begins_with, context.store)
    else:
        load_weights(student, previous)
    if (vocabulary := _vocabulary(student)) is not None:
        guards.tokenizer_fits(len(context.tokenizer), vocabulary, "the student")
    training = Training.from_config(stage["training"], f"stages.{name}.training")
    rows = context.splits["train"]
    steps = training.steps(len(rows))
    log.info("stage %s: %d rows, %d steps, terms %s", name, len(rows), steps, ", ".join(term.name for term in terms))
    residents = Residents(cfg.teacher.resident) if team and cfg.teacher.resident is not None else None
    teaching = list(zip(context.plan.teachers, found, strict=True)) if found else []
    module = StudentModule(
        student,
        [source(context, reading, partial(load_model, context, teacher), residents) for teacher, reading in teaching],
        terms,
        instantiate(cfg.optimizer),
        instantiate(cfg.lr_schedule),
        training,
        steps,
        training.steps_per_epoch(len(rows)),
        build_combiner(context, name, shapes) if team else None,
    )
    stream = BatchStream(rows, training, cfg.seed, context.tokenizer.pad_token_id)
    return module, replace(stream, variant=_variant(context, rows))


def load_model(context: Context, teacher: Teacher) -> Model:
    """The model of one who teaches: a fine-tuned teacher, or the finished student of another configuration."""
    folder = context.path_of(teacher)
    if teacher.kind == "teacher":
        return load_teacher(folder)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
        model = build_student(teacher.cfg, context.task, context.tokenizer)
    load_weights(model, folder)
    return model.eval().requires_grad_(False)


def build_combiner(context: Context, stage: str, shapes: Sequence[Shape]) -> Combiner:
    """What makes one lesson of a team's answers, with the distribution that the scores give."""
    cfg, team = context.cfg, context.plan.teachers
    sampling = sampling_of(cfg)
    names = [teacher.name for teacher in team]
    scores = {"teacher": context.teacher_scores, "student": context.pilot_scores}.get(sampling.scores)
    distribution = sampling.distribution(names, None if scores is None else scores())
    listed = ", ".join(f"{name} {share:.3f}" for name, share in zip(names, distribution, strict=True))
    log.info("team: %s", listed)
    combiner: Combiner = combiner_of(cfg, stage)(Draws(sampling, distribution, derive(cfg.seed, "team", stage)), shapes)
    return combiner


def build_stage(context: Context, name: str, previous: Path | None, folder: Path) -> None:
    """Train one stage into `folder`: the student's weights and stage.json; see `build_module`."""
    cfg = context.cfg
    module, stream = build_module(context, name, previous)
    _before(context, module, stream)
    seed_everything(cfg.seed, f"dropout/{name}")
    done = fit(
        module,
        stream,
        lambda: context.evaluate(module.model),
        context.task.score,
        folder,
        context.lightning_accelerator,
        cfg.precision.name,
        context.loggers,
        at_start=partial(_warn_of_start, context) if previous is None else None,
    )
    _keep(context, name, module.model, done, folder)


def _variant(context: Context, rows: Split) -> Callable[[int], Split] | None:
    """The training rows by epoch, where they differ."""
    augmentation: Augmentation = instantiate(context.cfg.augmentation)
    if augmentation.variants == 1:
        return None

    @lru_cache(maxsize=1)
    def variant(epoch: int) -> Split:
        return augmentation.variant(rows, epoch % augmentation.variants, context.tokenizer)

    return variant


def _before(context: Context, module: StudentModule, stream: BatchStream) -> None:
    """The guards that need a built module, before a long training begins."""
    guards.teacher_is_apart(module, module.configure_optimizers())
    if context.cfg.guards.preflight:
        module.to(context.device)
        for teacher in module.sources:
            teacher.to(context.device)
        guards.preflight(module, stream)


def _found_at_start(context: Context, start: dict[str, float]) -> list[str]:
    """What the guards say of an evaluation of the student's start; empty for a stage that does not begin there."""
    score = context.task.score
    if score not in start:
        return []
    taught = float(teacher_record(context.teacher_path)["metrics"][score])  # type: ignore[index]
    found = guards.teacher_below_start(taught, start[score], score, context.cfg.guards.teacher_below_start)
    return [] if found is None else [found]


def _warn_of_start(context: Context, start: dict[str, float]) -> None:
    for found in _found_at_start(context, start):
        log.warning(found)


def _keep(context: Context, name: str, student: Model, done: Fit, folder: Path) -> None:
    save_file({key: value.detach().cpu().contiguous() for key, value in student.state_dict().items()}, folder / WEIGHTS)
    entry = {
        "label": f"{context.task.name}: {name}",
        "steps": done.steps,
        "history": done.history,
        "metrics": done.metrics,
        "start_metrics": done.start_metrics,
        "guards": _found_at_start(context, done.start_metrics),
        "axes": plain(context.cfg.axes),
        "built_from": [*context.plan.signatures("data"), *context.plan.signatures("teacher"), *context.plan.team],
    }
    write_json(folder / "stage.json", entry)


def _vocabulary(student: Model) -> int | None:
    """The rows of a Hugging Face student's word embedding; None for an architecture that does not say."""
    found = getattr(getattr(getattr(student, "model", None), "config", None), "vocab_size", None)
    return found if isinstance(found, int) else None
