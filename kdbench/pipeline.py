"""One run, from a completed configuration to its record, computing what the store lacks.

data -> teacher -> student <- initialization -> for each stage: terms, fit -> evaluate -> record
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from kdbench.config import plain
from kdbench.error import KdbenchError
from kdbench.plan import RunPlan
from kdbench.planning import plan_run
from kdbench.search.pruning import Pruned, reporting
from kdbench.store import Store, read_json

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from kdbench.context import Context, TeacherContext

log = logging.getLogger(__name__)

Record = dict[str, Any]


def run(cfg: DictConfig, folder: Path | None = None, plan: RunPlan | None = None) -> Record:
    """Answer a configuration from the store, or compute what is missing and keep it there.

    Args:
        cfg: completed by `kdbench.config.complete` (or made by `kdbench.compose`).
        folder: where loggers write; none of them is started without it.
        plan: if it was made already.

    Returns:
        The run's record, as `record.json` holds it.

    Raises:
        KdbenchError: a user's mistake, or an artefact that is damaged.
    """
    return answer(cfg, plan or plan_run(cfg, Store(cfg.paths.store)), folder)[0]


def answer(cfg: DictConfig, plan: RunPlan, folder: Path | None = None) -> tuple[Record, bool]:
    """As `run`, and whether the run's end was computed here: another process may have come first since the plan."""
    store, computed = Store(cfg.paths.store), False
    if not plan.finished:
        try:
            computed = _compute(cfg, plan, store, folder)
        except Pruned:
            raise
        except Exception as error:
            _blame_damage(plan, store, error)
            raise
    record = read_json(store.obtain("run", plan.signature, _never) / "record.json")
    assert isinstance(record, dict)
    return record, computed


def _blame_damage(plan: RunPlan, store: Store, error: Exception) -> None:
    """Say that an artefact is damaged, where its changed content and not its size has let a run fail."""
    for step in plan.everything():
        if store.has(step.kind, step.signature) and (damage := store.damage(step.kind, step.signature, hashed=True)):
            raise store.damaged(step.kind, step.signature, damage) from error


def _never(folder: Path) -> None:
    raise AssertionError("the record was there a moment ago")


def prepare(cfg: DictConfig, plan: RunPlan, store: Store, loggers: Sequence[Logger] = ()) -> Context:
    """What the stages of a run begin with, from the store or made now: tokenised data, a fine-tuned teacher, and the
    members and pilots of a team."""
    import torch

    from kdbench.context import Context, TeacherContext
    from kdbench.module.guards import tells_texts_apart, texts_told_apart
    from kdbench.ood import ood_sets, rows_of_set
    from kdbench.stage import build_student
    from kdbench.tokenizer import single_tokens
    from kdbench.vocabulary.exported_tokenizer import CARRIES, carries
    from kdbench.vocabulary.tables import Vocabulary

    context = Context(cfg, plan, store, {}, loggers)
    context.task.head(context.tokenizer)  # words that are none are refused before a language model is trained
    if len(context.task.text) > 1 and not tells_texts_apart(context.tokenizer):
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away
            texts_told_apart(build_student(cfg, context.task, context.tokenizer, None), context.tokenizer)
    if cfg.vocabulary is not None:
        single_tokens(context.tokenizer, cfg.vocabulary.reserved, "vocabulary.reserved")
        if not carries(context.tokenizer):
            log.warning("vocabulary: the teacher's tokenizer is no %s, so that this student can be evaluated, but not "
                        "exported; vocabulary=full can", CARRIES)  # fmt: skip
    sets = ood_sets(cfg.ood, context.task, cfg.data.source, cfg.student)
    for each in sets:  # a mistake in their rows is said before the training
        rows_of_set(each, store, plan.data_root, plan.checked.teacher_folder)
    _prepare_teacher(context)
    if plan.vocabulary is not None:
        from kdbench.vocabulary.build import build_vocabulary

        with context.timed("vocabulary"):
            made = store.obtain("vocabulary", plan.vocabulary.signature, partial(build_vocabulary, context))
        context.vocabulary = Vocabulary.load(made)
    with context.timed("team"):
        for teacher in plan.teachers:
            if isinstance(teacher.plan, RunPlan):
                answer(teacher.cfg, teacher.plan)
            elif teacher.plan is not None:
                _prepare_teacher(TeacherContext(teacher.cfg, teacher.plan, store, {}))
        for pilot in plan.pilots:
            answer(pilot.cfg, pilot.plan)
    return context


def _prepare_teacher(context: TeacherContext) -> None:
    """Tokenised data and its teacher, from the store or made now."""
    from kdbench.context import TeacherContext
    from kdbench.data.tokenised import tokenised
    from kdbench.quiet import quiet_libraries
    from kdbench.teacher import build_teacher

    quiet_libraries()
    cfg, plan, store = context.cfg, context.plan, context.store
    if plan.language is not None:
        language = plan.language
        context.language = TeacherContext(language.cfg, language.plan, store, {})
        _prepare_teacher(context.language)
    with context.timed("data"):
        context.splits = tokenised(store, plain(cfg.data), plan.data_root, plan.checked.teacher_folder)
    if "train" not in context.splits:
        raise KdbenchError(
            f"{context.task.name} has no training rows here: name others with {context.task.key}.splits.train=..., or "
            "evaluate a finished student on it with kdbench-evaluate RUN data=..."
        )
    with context.timed("teacher"):
        if plan.teacher is not None:
            store.obtain("teacher", plan.teacher, partial(build_teacher, context))


def _compute(cfg: DictConfig, plan: RunPlan, store: Store, folder: Path | None) -> bool:
    """Make what the store lacks; whether the record is of this call."""
    from kdbench.finished_run import FinishedRun
    from kdbench.logger import loggers
    from kdbench.record import build_record
    from kdbench.stage import build_stage
    from kdbench.tracker import summary

    name = f"{plan.checked.task.name} {plan.signature}"
    with loggers(cfg, folder, plain(cfg.axes), name, cfg.sweep) as trackers:
        with reporting(None):  # members and pilots of a team have evaluations of their own, which are none of a trial
            context = prepare(cfg, plan, store, trackers.lightning)
        previous: Path | None = None
        for key, signature in zip(map(str, cfg.stages), plan.signatures("stage"), strict=True):
            with context.timed(key):
                previous = store.obtain("stage", signature, partial(build_stage, context, key, previous))
        built: list[Path] = []

        def build(unfinished: Path) -> None:
            build_record(context, unfinished)
            built.append(unfinished)

        finished = store.obtain("run", plan.signature, build)
        trackers.finish(summary(read_json(finished / "record.json")), FinishedRun(store, plan.signature))
    return bool(built)
