"""What a run needs, by signature, and what of it is in the store already; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdbench.check import Checked, check
from kdbench.config import instantiate, plain
from kdbench.data.tokenised import data_signature, tokenizer_fingerprint
from kdbench.fused import VERSION as FUSED
from kdbench.initialization.base import Initialization
from kdbench.knowledge.base import Knowledge
from kdbench.pretrained import fingerprint
from kdbench.signature import signature, versions
from kdbench.store import Store

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
class RunPlan:
    """A run's artefacts in the order of their making, the run's own record last, and what the check found out."""

    steps: tuple[Step, ...]
    checked: Checked
    data_root: Path

    @property
    def signature(self) -> str:
        return self.steps[-1].signature

    @property
    def finished(self) -> bool:
        """Whether the run's record is in the store."""
        return self.steps[-1].done

    def signatures(self, kind: str) -> list[str]:
        """The signatures of one kind, in order."""
        return [step.signature for step in self.steps if step.kind == kind]


def plan_run(cfg: DictConfig, store: Store) -> RunPlan:
    """Check a completed configuration and name every artefact it needs.

    Raises:
        ImpossibleError, KdbenchError: as `kdbench.check.check`; also data or a beginning that are not there.
    """
    checked = check(cfg)
    initialization: Initialization = instantiate(cfg.initialization)
    initialization.check_store(store)
    root = Path(cfg.paths.data).expanduser()
    task, folder = checked.task, checked.teacher_folder
    data = data_signature(plain(cfg.data), root, folder, store.fingerprints)
    teacher = signature("teacher", _teacher_content(cfg, checked, data, store))
    steps = [("data", data, task.name), ("teacher", teacher, f"{cfg.teacher.model} on {task.name}")]
    previous: dict[str, Any] = {"student": _student_content(cfg)}
    for name in cfg.stages:
        content = _stage_content(cfg, str(name), checked, data, teacher, previous)
        stage = signature("stage", content)
        steps.append(("stage", stage, str(name)))
        previous = {"stage": stage}
    run = signature("run", {"version": VERSION, "stage": steps[-1][1], "teacher": teacher, "metrics": task.metrics})
    steps.append(("run", run, task.name))
    return RunPlan(tuple(Step(*step, done=store.has(step[0], step[1])) for step in steps), checked, root)


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in training.items() if key not in WITHOUT_EFFECT}


def _optimization(cfg: DictConfig) -> dict[str, Any]:
    content = {"optimizer": plain(cfg.optimizer), "lr_schedule": plain(cfg.lr_schedule)}
    return {**content, "versions": versions(content)}


def _teacher_content(cfg: DictConfig, checked: Checked, data: str, store: Store) -> dict[str, Any]:
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
    distils = not all(_from_labels(term) for term in stage["terms"].values())
    taught = initialization.needs_teacher or distils
    # Last bits differ; where no term has a fused form the choice changes nothing, and no name.
    fused = {"fused": FUSED if cfg.fused else None} if any(_fusible(term) for term in stage["terms"].values()) else {}
    return {
        "version": VERSION,
        "begins": previous,
        "name": name,
        "data": data,
        "teacher": teacher if taught else None,
        "outputs": {key: cfg.teacher[key] for key in ("computed_in", "stored_in")} if distils else None,
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


def _from_labels(term: Mapping[str, Any]) -> bool:
    return bool(instantiate(term["knowledge"]).from_labels)
