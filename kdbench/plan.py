"""What a run needs, by signature, and what of it is in the store already; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from kdbench.check import Checked, CheckedTeacher, check, check_teacher
from kdbench.config import instantiate, plain
from kdbench.data.tokenised import data_signature, tokenizer_fingerprint
from kdbench.fused import VERSION as FUSED
from kdbench.initialization.base import Initialization
from kdbench.knowledge.base import Knowledge
from kdbench.pretrained import fingerprint
from kdbench.shape import Shape
from kdbench.signature import signature, versions
from kdbench.store import Store
from kdbench.teaching import OWN, distils, pilot, sampling_of, teaching_members

VERSION = 2
"""Of the engine's own mathematics: the step, the evaluation, the seeds. Raised when a change of it changes results.

2: the terms' means and weights are taken for all terms at once, which changes the last bits of a loss.
"""

WITHOUT_EFFECT = ("checkpoint_every_steps", "log_every_steps")
"""Settings of a training that cannot change its result."""


@dataclass(frozen=True)
class Step:
    """One artefact that a run needs."""

    kind: str
    signature: str
    label: str
    done: bool


@dataclass(frozen=True)
class TeacherPlan:
    """The artefacts of a teacher in the order of their making, and what the check found out."""

    steps: tuple[Step, ...]
    checked: CheckedTeacher
    data_root: Path

    @property
    def signature(self) -> str:
        return self.steps[-1].signature

    @property
    def finished(self) -> bool:
        """Whether the last artefact is in the store."""
        return self.steps[-1].done

    def signatures(self, kind: str) -> list[str]:
        """The signatures of one kind, in order."""
        return [step.signature for step in self.steps if step.kind == kind]


@dataclass(frozen=True)
class Teacher:
    """One who teaches a run.

    Attributes:
        name: in its team; `OWN` for the one teacher of a run without a team.
        kind: of its artefact, `teacher` or `stage`.
        signature: of its artefact.
        label: for a reader.
        shape: of the model.
        cfg: the configuration that it comes from.
        plan: how it is made; None for the one teacher, which the run's own plan makes.
    """

    name: str
    kind: Literal["teacher", "stage"]
    signature: str
    label: str
    shape: Shape
    cfg: DictConfig
    plan: TeacherPlan | None = None


@dataclass(frozen=True)
class Pilot:
    """A run in which one member of a team teaches alone, whose score ranks it."""

    name: str
    cfg: DictConfig
    plan: RunPlan


@dataclass(frozen=True)
class RunPlan(TeacherPlan):
    """A run's artefacts, its own record last, and what has to be there before: its teachers, and their pilots."""

    checked: Checked
    teachers: tuple[Teacher, ...] = ()
    pilots: tuple[Pilot, ...] = ()

    def everything(self) -> tuple[Step, ...]:
        """The steps of all that the run needs, each once, its own last."""
        before = [teacher.plan for teacher in self.teachers if teacher.plan is not None]
        steps = [step for plan in (*before, *(pilot.plan for pilot in self.pilots)) for step in steps_of(plan)]
        return tuple(dict.fromkeys([*steps, *self.steps]))

    @property
    def team(self) -> list[str]:
        """The signatures of what a team's members and pilots are, and of the runs that they come from."""
        plans = [teacher.plan for teacher in self.teachers if teacher.plan is not None]
        ends = [plan.signature for plan in (*plans, *(pilot.plan for pilot in self.pilots))]
        own = [teacher.signature for teacher in self.teachers if teacher.plan is not None]
        return list(dict.fromkeys([*own, *ends]))

    @property
    def built_from(self) -> list[str]:
        """The signatures of the artefacts that the run was made of."""
        return list(dict.fromkeys([*(step.signature for step in self.steps[:-1]), *self.team]))


def steps_of(plan: TeacherPlan) -> tuple[Step, ...]:
    """All steps behind a plan; of a run that is finished nothing else is needed."""
    return plan.everything() if isinstance(plan, RunPlan) and not plan.finished else plan.steps


def plan_run(cfg: DictConfig, store: Store) -> RunPlan:
    """Check a completed configuration and name every artefact it needs.

    Raises:
        ImpossibleError, KdbenchError: as `kdbench.check.check`; also data or a beginning that are not there.
    """
    checked = check(cfg)
    initialization: Initialization = instantiate(cfg.initialization)
    initialization.check_store(store)
    task, own = checked.task, plan_teacher(cfg, store)
    data, teacher = (own.signatures(kind)[0] for kind in ("data", "teacher"))
    taught = any(distils(plain(stage)) for stage in cfg.stages.values())
    teachers = _teachers(cfg, store, checked, teacher) if taught else ()
    pilots = _pilots(cfg, store, teachers)
    steps = [(step.kind, step.signature, step.label) for step in own.steps]
    previous: dict[str, Any] = {"student": _student_content(cfg)}
    for name in cfg.stages:
        content = _stage_content(cfg, str(name), checked, data, teacher, previous)
        content |= _team_content(cfg, str(name), teachers, pilots) if content["outputs"] is not None else {}
        stage = signature("stage", content)
        steps.append(("stage", stage, str(name)))
        previous = {"stage": stage}
    run = signature("run", {"version": VERSION, "stage": steps[-1][1], "teacher": teacher, "metrics": task.metrics})
    steps.append(("run", run, task.name))
    found = tuple(Step(*step, done=store.has(step[0], step[1])) for step in steps)
    return RunPlan(found, checked, own.data_root, teachers, pilots)


def plan_teacher(cfg: DictConfig, store: Store) -> TeacherPlan:
    """The data and the fine-tuned teacher of a completed configuration; raises as `plan_run`."""
    checked = check_teacher(cfg)
    root = Path(cfg.paths.data).expanduser()
    data = data_signature(plain(cfg.data), root, checked.teacher_folder, store.fingerprints)
    teacher = signature("teacher", _teacher_content(cfg, checked, data, store))
    steps = (("data", data, checked.task.name), ("teacher", teacher, f"{cfg.teacher.model} on {checked.task.name}"))
    return TeacherPlan(tuple(Step(*step, done=store.has(step[0], step[1])) for step in steps), checked, root)


def _teachers(cfg: DictConfig, store: Store, checked: Checked, own: str) -> tuple[Teacher, ...]:
    task = checked.task.name
    if not (team := teaching_members(cfg)):
        return (Teacher(OWN, "teacher", own, f"{cfg.teacher.model} on {task}", checked.teacher, cfg),)
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


def _team_content(
    cfg: DictConfig, stage: str, teachers: tuple[Teacher, ...], pilots: tuple[Pilot, ...]
) -> dict[str, Any]:
    """What a stage owes to its team. A member counts by what it is and by its place, not by its name."""
    if cfg.team is None:
        return {}
    names = [teacher.name for teacher in teachers]
    sampling, combiner = plain(cfg.sampling), plain(cfg.stages[stage].combiner)
    if sampling is not None:
        sampling = {**sampling, **sampling_of(cfg).named(names)}
    return {
        "team": [teacher.signature for teacher in teachers],
        "sampling": sampling,
        "combiner": combiner,
        "pilots": [pilot.plan.signature for pilot in pilots],
        "team_versions": versions({"sampling": sampling, "combiner": combiner}),
    }


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in training.items() if key not in WITHOUT_EFFECT}


def _optimization(cfg: DictConfig) -> dict[str, Any]:
    content = {"optimizer": plain(cfg.optimizer), "lr_schedule": plain(cfg.lr_schedule)}
    return {**content, "versions": versions(content)}


def _teacher_content(cfg: DictConfig, checked: CheckedTeacher, data: str, store: Store) -> dict[str, Any]:
    content: dict[str, Any] = {
        "version": VERSION,
        "model": fingerprint(checked.teacher_folder, store.fingerprints),
        "tokenizer": tokenizer_fingerprint(checked.teacher_folder),
        "data": data,
        "metrics": checked.task.metrics,
        "train": cfg.teacher.train,
    }
    if cfg.teacher.train:
        content["training"] = _training(plain(cfg.teacher.training))
        content["optimization"] = _optimization(cfg.teacher)
        content["seed"] = cfg.teacher.seed
        content["precision"] = cfg.precision.name
    return content


def _student_content(cfg: DictConfig) -> dict[str, Any]:
    initialization: Initialization = instantiate(cfg.initialization)
    content = {"architecture": plain(cfg.student), "initialization": plain(cfg.initialization)}
    return {**content, "content": initialization.content(), "versions": versions(content)}


def _stage_content(
    cfg: DictConfig, name: str, checked: Checked, data: str, teacher: str, previous: Mapping[str, Any]
) -> dict[str, Any]:
    stage = plain(cfg.stages[name])
    initialization: Initialization = instantiate(cfg.initialization)
    taught = initialization.needs_teacher or (distils(stage) and cfg.team is None)
    # Last bits differ; where no term has a fused form the choice changes nothing, and no name.
    fused = {"fused": FUSED if cfg.fused else None} if any(_fusible(term) for term in stage["terms"].values()) else {}
    return {
        "version": VERSION,
        "begins": previous,
        "name": name,
        "data": data,
        "teacher": teacher if taught else None,
        "outputs": {key: cfg.teacher[key] for key in ("computed_in", "stored_in")} if distils(stage) else None,
        "terms": stage["terms"],
        "versions": versions(stage["terms"]),
        "training": _training(stage["training"]),
        **_augmentation(cfg),
        "optimization": _optimization(cfg),
        "precision": cfg.precision.name,
        "score": checked.task.score,
        "seed": cfg.seed,
        **fused,
    }


def _augmentation(cfg: DictConfig) -> dict[str, Any]:
    content = plain(cfg.augmentation)
    if str(content["_target_"]).endswith(".Unchanged"):
        return {}
    return {"augmentation": content, "augmentation_versions": versions(content)}


def _fusible(term: Mapping[str, Any]) -> bool:
    """Whether there may be a fused form for a term's knowledge; a schedule decides about the objective by the step."""
    return type(instantiate(term["knowledge"])).fused is not Knowledge.fused
