"""From a completed configuration to its plan; nothing is computed here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from kdbench.check import Checked, check, check_teacher
from kdbench.config import instantiate, plain
from kdbench.content import (
    VERSION,
    stage_content,
    student_content,
    teacher_content,
    team_content,
    vocabulary_content,
)
from kdbench.data.tokenised import data_signature
from kdbench.initialization.base import Initialization
from kdbench.language import begins_with_language, corpus_stages, is_corpus, language_cfg, reads_teacher
from kdbench.ood import ood_content, ood_sets
from kdbench.plan import Language, Pilot, RunPlan, Step, Teacher, TeacherPlan
from kdbench.signature import signature
from kdbench.store import Store
from kdbench.teaching import OWN, distils, pilot, sampling_of, teaching_members


def plan_run(cfg: DictConfig, store: Store) -> RunPlan:
    """Check a completed configuration and name every artefact it needs.

    Raises:
        ImpossibleError, KdbenchError: as `kdbench.check.check`; also data or a beginning that are not there.
    """
    checked = check(cfg)
    initialization: Initialization = instantiate(cfg.initialization)
    initialization.check_store(store)
    own = plan_teacher(language_cfg(cfg), store, reads_teacher(cfg)) if is_corpus(cfg) else plan_teacher(cfg, store)
    language, on_corpus = _on_corpus(cfg, store)
    own_stages = [stage for name, stage in cfg.stages.items() if str(name) not in on_corpus]
    taught = any(distils(plain(stage)) for stage in own_stages)
    teachers = _teachers(cfg, store, checked, own) if taught else ()
    vocabulary = _vocabulary(cfg, store, own if language is None else language.plan)
    pilots = _pilots(cfg, store, teachers)
    found = RunPlan(
        own.steps, checked, own.data_root, language or own.language, teachers, pilots, on_corpus, vocabulary
    )
    stages = _stages(cfg, store, found)
    sets = ood_sets(cfg.ood, checked.task, cfg.data.source, cfg.student)
    elsewhere = ood_content(sets, own.data_root, checked.teacher_folder, store)
    content = {
        "version": VERSION,
        "stage": stages[-1].signature,
        "teacher": own.teacher,
        "metrics": checked.task.metrics,
        **({"ood": elsewhere} if elsewhere else {}),
    }
    evaluated = [_step(store, "data", elsewhere[each.name]["data"], each.task.name) for each in sets]
    run = _step(store, "run", signature("run", content), checked.task.name)
    return replace(found, steps=(*found.steps, *stages, *evaluated, run))


def plan_teacher(cfg: DictConfig, store: Store, needed: bool = True) -> TeacherPlan:
    """The data and the teacher of a completed configuration; raises as `plan_run`.

    Args:
        cfg: complete.
        store: where they are, or will be.
        needed: whether anyone asks for the teacher.
    """
    checked = check_teacher(cfg)
    root = Path(cfg.paths.data).expanduser()
    data = data_signature(plain(cfg.data), root, checked.teacher_folder, store.fingerprints)
    steps = [_step(store, "data", data, checked.task.name)]
    language = None
    if needed:
        if begins_with_language(cfg):
            alone = language_cfg(cfg)
            language = Language(alone, plan_teacher(alone, store))
        teacher = signature("teacher", teacher_content(cfg, checked, data, store, language))
        steps.append(_step(store, "teacher", teacher, f"{cfg.teacher.model} on {checked.task.name}"))
    return TeacherPlan(tuple(steps), checked, root, language)


def _step(store: Store, kind: str, signed: str, label: str) -> Step:
    return Step(kind, signed, label, done=store.has(kind, signed))


def _on_corpus(cfg: DictConfig, store: Store) -> tuple[Language | None, dict[str, tuple[Teacher, ...]]]:
    """The language model of a run, and the stages that learn from its corpus with those who teach them."""
    stages = corpus_stages(cfg)
    if is_corpus(cfg) or not (stages or cfg.vocabulary):
        return None, {}
    language = language_cfg(cfg)
    plan = plan_teacher(language, store, reads_teacher(cfg, stages) or begins_with_language(cfg))
    taught: dict[str, tuple[Teacher, ...]] = {name: () for name in stages}
    if plan.teacher is None:
        return Language(language, plan), taught
    label = f"{cfg.teacher.model} on {plan.checked.task.name}"
    teacher = Teacher(OWN, "teacher", plan.teacher, label, plan.checked.teacher, language, plan)
    taught |= {name: (teacher,) for name in stages if distils(plain(cfg.stages[name]))}
    return Language(language, plan), taught


def _vocabulary(cfg: DictConfig, store: Store, corpus: TeacherPlan) -> Step | None:
    """The words that a student keeps of a corpus, near to each other as its language model has them."""
    if cfg.vocabulary is None:
        return None
    signed = signature("vocabulary", vocabulary_content(cfg, corpus))
    return _step(store, "vocabulary", signed, f"frequent words of {corpus.checked.task.name}")


def _stages(cfg: DictConfig, store: Store, plan: RunPlan) -> list[Step]:
    """A step for each stage; the first begins with the student, each other with the one before it."""
    steps: list[Step] = []
    previous: dict[str, Any] = {"student": student_content(cfg, plan.vocabulary)}
    for name in map(str, cfg.stages):
        content = stage_content(cfg, name, plan.side(name), previous)
        if content["outputs"] is not None and name not in plan.on_corpus:
            content |= team_content(cfg, name, plan.teachers, plan.pilots)
        steps.append(_step(store, "stage", signature("stage", content), name))
        previous = {"stage": steps[-1].signature}
    return steps


def _teachers(cfg: DictConfig, store: Store, checked: Checked, own: TeacherPlan) -> tuple[Teacher, ...]:
    task = checked.task.name
    if not (team := teaching_members(cfg)):
        assert own.teacher is not None
        return (Teacher(OWN, "teacher", own.teacher, f"{cfg.teacher.model} on {task}", checked.teacher, cfg),)
    found = []
    for member in team:
        label, shape = f"{member.name} on {task}", checked.teachers[member.name]
        plan = plan_teacher(member.cfg, store) if member.role == "teacher" else plan_run(member.cfg, store)
        kind: Literal["teacher", "stage"] = "teacher" if member.role == "teacher" else "stage"
        found.append(Teacher(member.name, kind, plan.signatures(kind)[-1], label, shape, member.cfg, plan))
    return tuple(found)


def _pilots(cfg: DictConfig, store: Store, teachers: tuple[Teacher, ...]) -> tuple[Pilot, ...]:
    if cfg.team is None or sampling_of(cfg).scores != "student":
        return ()
    pilots = ((teacher.name, pilot(cfg, teacher.name)) for teacher in teachers)
    return tuple(Pilot(name, alone, plan_run(alone, store)) for name, alone in pilots)
