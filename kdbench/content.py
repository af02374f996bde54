"""What determines each artefact of a run: the contents that their signatures are made of."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from kdbench.check import CheckedTeacher
from kdbench.config import instantiate, plain
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenizer_fingerprint
from kdbench.fused import VERSION as FUSED
from kdbench.initialization.base import Initialization
from kdbench.knowledge.base import Knowledge
from kdbench.language import corpus_stages, data_of
from kdbench.plan import Language, Pilot, Step, Teacher, TeacherPlan
from kdbench.pretrained import fingerprint
from kdbench.signature import versions
from kdbench.store import Store
from kdbench.teaching import distils, sampling_of
from kdbench.vocabulary.tables import VERSION as VOCABULARY

VERSION = 2
"""Of the engine's own mathematics: the step, the evaluation, the seeds. Raised when a change of it changes results.

2: the terms' means and weights are taken for all terms at once, which changes the last bits of a loss.
"""

WITHOUT_EFFECT = ("checkpoint_every_steps", "log_every_steps")
"""Settings of a training that cannot change its result."""


def teacher_content(
    cfg: DictConfig, checked: CheckedTeacher, data: str, store: Store, language: Language | None
) -> dict[str, Any]:
    """Of the teacher of a configuration, on tokenised data of that signature, begun as a language model or not."""
    content: dict[str, Any] = {
        "version": VERSION,
        "model": fingerprint(checked.teacher_folder, store.fingerprints),
        "tokenizer": tokenizer_fingerprint(checked.teacher_folder),
        "data": data,
        "metrics": checked.task.metrics,
        "train": cfg.teacher.train,
    }
    if checked.task.is_corpus:
        content |= _masking(plain(cfg.data))
    content |= _answers(checked.task)
    if language is not None:
        content["begins"] = language.plan.teacher
    if cfg.teacher.train:
        content["training"] = _training(plain(cfg.teacher.training))
        content["optimization"] = _optimization(cfg.teacher)
        content["seed"] = cfg.teacher.seed
        content["precision"] = cfg.precision.name
    return content


def student_content(cfg: DictConfig, vocabulary: Step | None) -> dict[str, Any]:
    """Of a student before its first stage."""
    initialization: Initialization = instantiate(cfg.initialization)
    of_head = options_of_head(cfg)
    architecture = {key: value for key, value in plain(cfg.student).items() if key not in of_head}
    content = {"architecture": architecture, "initialization": plain(cfg.initialization)}
    # A student with all words has no word of them in its name, as before there were others.
    words = {} if vocabulary is None else {"vocabulary": vocabulary.signature, "output": cfg.vocabulary.output}
    return {**content, "content": initialization.content(), "versions": versions(content), **words}


def options_of_head(cfg: DictConfig) -> dict[str, Any]:
    """The options of a student that say nothing of its body: its module lists them in `OF_HEAD`, or has none."""
    options = plain(cfg.student)
    module = importlib.import_module(str(options["_target_"]).rpartition(".")[0])
    return {key: options[key] for key in getattr(module, "OF_HEAD", ())}


def vocabulary_content(cfg: DictConfig, corpus: TeacherPlan) -> dict[str, Any]:
    """Of the words that a student keeps: all tasks with the same reserved words share it, whatever their answers."""
    settings = plain(cfg.vocabulary)
    return {
        "version": VOCABULARY,
        "data": corpus.data,
        "teacher": corpus.teacher if settings["substitute"] != "unknown" else None,
        **{key: settings[key] for key in ("keep", "multiple", "substitute")},
        "reserved": sorted(settings["reserved"]),
    }


def stage_content(cfg: DictConfig, name: str, side: TeacherPlan, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Of a stage: `outputs` is None where it learns from labels alone.

    Args:
        cfg: complete.
        name: the stage's key.
        side: the plan of its data and of the teacher there.
        previous: what it begins with.
    """
    stage = plain(cfg.stages[name])
    initialization: Initialization = instantiate(cfg.initialization)
    alone = cfg.team is None or name in corpus_stages(cfg)  # a team teaches the task; the language model a corpus
    head = {"head": stage["head"]} if stage.get("head") else {}
    above = {} if side.checked.task.is_corpus else options_of_head(cfg)
    taught = initialization.needs_teacher or (distils(stage) and alone) or bool(head)
    # Last bits differ; where no term has a fused form the choice changes nothing, and no name.
    fused = {"fused": FUSED if cfg.fused else None} if any(_fusible(term) for term in stage["terms"].values()) else {}
    return {
        "version": VERSION,
        "begins": previous,
        "name": name,
        "data": side.data,
        "teacher": side.teacher if taught else None,
        "outputs": {key: cfg.teacher[key] for key in ("computed_in", "stored_in")} if distils(stage) else None,
        "terms": stage["terms"],
        "versions": versions(stage["terms"]),
        "training": _training(stage["training"]),
        **(_masking(data_of(cfg, name)) if side.checked.task.is_corpus else _augmentation(cfg)),
        "optimization": _optimization(cfg.stages[name]),
        "precision": cfg.precision.name,
        "score": side.checked.task.score,
        "seed": stage["seed"],
        **head,
        **({"above": above, "above_versions": versions(above)} if above else {}),
        **fused,
        **_answers(side.checked.task),
        **({"teacher_input": "mapped"} if distils(stage) and _reads_substitutes(cfg) else {}),
    }


def team_content(
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


def _answers(task: Task) -> dict[str, Any]:
    """The words that a task is answered with."""
    if task.cloze is None:
        return {}
    return {"answers": list(task.cloze.answers), "length_penalty": task.cloze.length_penalty}


def _reads_substitutes(cfg: DictConfig) -> bool:
    return cfg.vocabulary is not None and cfg.vocabulary.teacher_input == "mapped"


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in training.items() if key not in WITHOUT_EFFECT}
    if not found["from_start"]:  # as before there was the choice
        del found["from_start"]
    return found


def _optimization(cfg: DictConfig) -> dict[str, Any]:
    content = {"optimizer": plain(cfg.optimizer), "lr_schedule": plain(cfg.lr_schedule)}
    return {**content, "versions": versions(content)}


def _augmentation(cfg: DictConfig) -> dict[str, Any]:
    content = plain(cfg.augmentation)
    if str(content["_target_"]).endswith(".Unchanged"):
        return {}
    return {"augmentation": content, "augmentation_versions": versions(content)}


def _masking(corpus: Mapping[str, Any]) -> dict[str, Any]:
    return {"augmentation": corpus["masking"], "augmentation_versions": versions(corpus["masking"])}


def _fusible(term: Mapping[str, Any]) -> bool:
    """Whether there may be a fused form for a term's knowledge; a schedule decides about the objective by the step."""
    return type(instantiate(term["knowledge"])).fused is not Knowledge.fused
