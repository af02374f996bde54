"""The artefact of a stage: a student, from where it begins to its kept weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file

from kdbench.augmentation.base import Augmentation, variant_of
from kdbench.combiner.base import Combiner
from kdbench.config import instantiate, plain
from kdbench.context import Context, TeacherContext
from kdbench.data.task import Task
from kdbench.head import Head, WordHead
from kdbench.initialization.base import Initialization
from kdbench.kronecker.dense import take_head
from kdbench.language import augmentation_node
from kdbench.model import WEIGHTS, Model, load_weights, own_weights
from kdbench.module import guards
from kdbench.module.fit import Fit, fit
from kdbench.module.pruning import Pruning
from kdbench.module.student import StudentModule
from kdbench.module.training import BatchStream, Training
from kdbench.plan import RunPlan, Teacher
from kdbench.sampling.base import Draws
from kdbench.search.pruning import reporter
from kdbench.seeds import derive
from kdbench.shape import Shape
from kdbench.store import write_json
from kdbench.student.compressed import Compressed
from kdbench.teacher import load_teacher, seed_everything, teacher_record
from kdbench.teacher_outputs.obtain import obtain
from kdbench.teacher_outputs.reading import Reading, readings
from kdbench.teacher_outputs.resident import Residents
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teaching import combiner_of, sampling_of
from kdbench.terms import build_terms
from kdbench.vocabulary.tables import Vocabulary

log = logging.getLogger(__name__)

Source = Callable[[Context, Reading, Callable[[], Model], Residents | None], TeacherOutputs]


def build_student(cfg: DictConfig, task: Task, tokenizer: Any, vocabulary: Vocabulary | None) -> Model:
    """The student's architecture with fresh weights, drawn from torch's generator.

    Args:
        cfg: of a run.
        task: its own, or its corpus.
        tokenizer: the teacher's.
        vocabulary: of a student with fewer words; None where it has all.
    """
    words, padding_id, head = len(tokenizer), tokenizer.pad_token_id, task.head(tokenizer)
    if vocabulary is not None:
        words, padding_id = len(vocabulary.words), int(vocabulary.rows[padding_id])
        head = _answered_by_rows(head, vocabulary)
    model: Model = instantiate(cfg.student, vocabulary=words, head=head, padding_id=padding_id)
    return model if vocabulary is None else Compressed(model, vocabulary, cfg.vocabulary.output == "expanded")


def _answered_by_rows(head: Head, vocabulary: Vocabulary) -> Head:
    """A head whose answers, all of them reserved words, are rows of a student's vocabulary."""
    if not isinstance(head, WordHead) or head.answers is None:
        return head
    return replace(head, answers=tuple(int(vocabulary.rows[answer]) for answer in head.answers))


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
    cfg, side, teachers = context.cfg, context.side(name), context.plan.taught_by(name)
    stage = plain(cfg.stages[name])
    student = _begun(context, name, stage, previous)
    found = readings(cfg, context.plan).get(name, ())
    shapes = [teacher.shape for teacher in teachers] if found else [side.plan.checked.teacher]
    team = bool(found) and cfg.team is not None and side is context
    terms = build_terms(name, stage["terms"], student.shape, shapes, stage["seed"], cfg.fused, team)
    training = Training.from_config(stage["training"], f"stages.{name}.training")
    rows = side.splits["train"]
    steps = training.steps(len(rows))
    log.info("stage %s: %d rows, %d steps, terms %s", name, len(rows), steps, ", ".join(term.name for term in terms))
    residents = Residents(cfg.teacher.resident) if team and cfg.teacher.resident is not None else None
    teaching = list(zip(teachers, found, strict=True)) if found else []
    module = StudentModule(
        student,
        [source(context, reading, partial(load_model, context, teacher), residents) for teacher, reading in teaching],
        terms,
        instantiate(stage["optimizer"]),
        instantiate(stage["lr_schedule"]),
        training,
        steps,
        training.steps_per_epoch(len(rows)),
        build_combiner(context, name, shapes) if team else None,
    )
    stream = BatchStream(rows, training, stage["seed"], context.tokenizer.pad_token_id)
    augmentation: Augmentation = instantiate(augmentation_node(cfg, name))
    return module, replace(stream, variant=variant_of(augmentation, rows, context.tokenizer))


def _begun(context: Context, name: str, stage: Mapping[str, Any], previous: Path | None) -> Model:
    """The student as the stage finds it: initialized, or as the finished stage before left it."""
    side, head = context.side(name), partial(context.side(name).task.head, context.tokenizer)
    initialization: Initialization = instantiate(context.cfg.initialization)
    seed_everything(stage["seed"], "weights")
    student = build_student(context.cfg, side.task, context.tokenizer, context.vocabulary)
    if previous is not None:
        load_weights(student, previous)
    else:
        begins_with = load_teacher(side.teacher_path, head()) if initialization.needs_teacher else None
        initialization.initialize(student, begins_with, context.store)
    if stage.get("head") == "teacher":
        take_head(student, load_teacher(side.teacher_path, head()))
    if (vocabulary := _vocabulary(student)) is not None:
        guards.tokenizer_fits(len(context.tokenizer), vocabulary, "the student")
    return student


def load_model(context: Context, teacher: Teacher) -> Model:
    """The model of one who teaches: a fine-tuned teacher, or the finished student of another configuration."""
    folder = context.path_of(teacher)
    if teacher.kind == "teacher":
        task = (teacher.plan or context.plan).checked.task
        return load_teacher(folder, task.head(context.tokenizer))
    assert isinstance(teacher.plan, RunPlan)
    step = teacher.plan.vocabulary
    words = None if step is None else Vocabulary.load(context.store.path(step.kind, step.signature))
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
        model = build_student(teacher.cfg, context.task, context.tokenizer, words)
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
    cfg, side, first, last = context.cfg, context.side(name), previous is None, name == [*context.cfg.stages][-1]
    module, stream = build_module(context, name, previous)
    _before(context, module, stream)
    seed_everything(cfg.stages[name].seed, f"dropout/{name}")
    done = fit(
        module,
        stream,
        lambda: side.evaluate(module.model),
        side.task.score,
        folder,
        context.lightning_accelerator,
        cfg.precision.name,
        context.loggers,
        at_start=partial(_warn_of_start, side) if first else None,
        callbacks=[Pruning(to, stream, side.task.score)] if (to := reporter()) is not None and last else [],
    )
    _keep(context, name, module.model, done, _found_at_start(side, done.start_metrics) if first else [], folder)


def _before(context: Context, module: StudentModule, stream: BatchStream) -> None:
    """The guards that need a built module, before a long training begins."""
    guards.teacher_is_apart(module, module.configure_optimizers())
    if context.cfg.guards.preflight:
        module.to(context.device)
        for teacher in module.sources:
            teacher.to(context.device)
        guards.preflight(module, stream)


def _found_at_start(side: TeacherContext, start: dict[str, float]) -> list[str]:
    """What the guards say of an evaluation of the student's start; empty for a stage that does not begin there."""
    score = side.task.score
    if score not in start or side.plan.teacher is None:
        return []
    taught = float(teacher_record(side.teacher_path)["metrics"][score])  # type: ignore[index]
    found = guards.teacher_below_start(taught, start[score], score, side.cfg.guards.teacher_below_start)
    return [] if found is None else [found]


def _warn_of_start(side: TeacherContext, start: dict[str, float]) -> None:
    for found in _found_at_start(side, start):
        log.warning(found)


def _keep(context: Context, name: str, student: Model, done: Fit, found: list[str], folder: Path) -> None:
    side = context.side(name)
    save_file(own_weights(student), folder / WEIGHTS)
    entry = {
        "label": f"{side.task.name}: {name}",
        "steps": done.steps,
        "history": done.history,
        "metrics": done.metrics,
        "start_metrics": done.start_metrics,
        "guards": found,
        "axes": plain(context.cfg.axes),
        "built_from": _built_from(context.plan, name),
    }
    write_json(folder / "stage.json", entry)


def _built_from(plan: RunPlan, stage: str) -> list[str]:
    side = plan.side(stage)
    return [*side.signatures("data"), *side.signatures("teacher"), *(plan.team if side is plan else ())]


def _vocabulary(student: Model) -> int | None:
    """The rows of a Hugging Face student's word embedding; None for an architecture that does not say."""
    found = getattr(getattr(getattr(student, "model", None), "config", None), "vocab_size", None)
    return found if isinstance(found, int) else None
