"""Refuse before computing: everything about a configuration that can be known to fail is said here, in one sentence.

Reads at most a model's config.json; builds no model and loads no data.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdbench.check_values import check_values
from kdbench.config import instantiate, plain
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenizer_fingerprint
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.initialization.base import Initialization
from kdbench.language import corpus_stages, is_corpus, language_cfg
from kdbench.module.training import Training
from kdbench.outputs import Taps
from kdbench.pretrained import locate
from kdbench.shape import Shape, of_spans
from kdbench.teacher_folder import refuse_other_task, shape_in
from kdbench.teaching import OWN, combiner_class, distils, refuse_unmergeable, teaching_members
from kdbench.terms import mixes_samples, parts_of
from kdbench.value import choice, share, whole


@dataclass(frozen=True)
class CheckedTeacher:
    """What the check of a teacher alone finds out: the task, the teacher's shape and its source folder."""

    task: Task
    teacher: Shape
    teacher_folder: Path


@dataclass(frozen=True)
class Checked(CheckedTeacher):
    """What the check had to find out, for those who go on.

    Attributes:
        student: its shape, on the run's own data.
        teachers: the shapes of those who teach, by name: of a team's members, or of the one teacher.
        taps: what each stage reads of each of them, in their order.
    """

    student: Shape
    teachers: dict[str, Shape]
    taps: dict[str, tuple[Taps, ...]]


def check(cfg: DictConfig) -> Checked:
    """Check a completed configuration.

    Raises:
        ImpossibleError: choices that cannot work together.
        KdbenchError: anything else a user can mend.
    """
    check_values(cfg)
    own = check_teacher(language_cfg(cfg) if is_corpus(cfg) else cfg)
    on_corpus = corpus_stages(cfg)
    language = check_teacher(language_cfg(cfg)) if on_corpus else own
    Training.from_config(plain(cfg.training))
    teachers = _teachers(cfg, own)
    taps = {}
    for place, (name, stage) in enumerate(cfg.stages.items()):
        side = language if name in on_corpus else own
        student = _student(cfg, side.task)
        if place == 0:
            initialization: Initialization = instantiate(cfg.initialization)
            initialization.check(student, side.teacher)
        Training.from_config(plain(stage.training), f"stages.{name}.training")
        choice(f"stages.{name}.data", stage.data, ("task", "corpus"))
        choice(f"stages.{name}.head", stage.get("head") or "own", ("own", "teacher"))
        taps[str(name)] = _terms(cfg, str(name), side.task, {OWN: side.teacher} if name in on_corpus else teachers)
        _micro_batches(str(name), plain(stage))
    _answers_kept(cfg, own.task)
    return Checked(own.task, own.teacher, own.teacher_folder, _student(cfg, own.task), teachers, taps)


def _answers_kept(cfg: DictConfig, task: Task) -> None:
    """Refuse a student that might not have the words that it is to answer in, before they are counted."""
    if cfg.vocabulary is None or task.cloze is None:
        return
    if missing := [word for word in task.cloze.answers if word not in cfg.vocabulary.reserved]:
        raise KdbenchError(
            f"data.cloze.answers: '{missing[0]}' is an answer of {task.name}, but none of the words that the student "
            f"keeps whatever their number: add it to vocabulary.reserved={list(cfg.vocabulary.reserved)}"
        )


def _student(cfg: DictConfig, task: Task) -> Shape:
    """The student's shape on that data."""
    _fits("student.max_positions", cfg.student.get("max_positions"), task)
    return student_shape(plain(cfg.student), task)


def check_teacher(cfg: DictConfig) -> CheckedTeacher:
    """Check what a teacher's making depends on; raises as `check`."""
    task = Task.from_config(plain(cfg.data))
    folder = locate(cfg.teacher.source, cfg.teacher.model, cfg.teacher.revision, "teacher.model")
    teacher, positions = shape_in(folder, task)
    if not cfg.teacher.train and not task.is_corpus:
        refuse_other_task(folder, task)
    _fits("the teacher", positions, task)
    Training.from_config(plain(cfg.teacher.training), "teacher.training")
    return CheckedTeacher(task, teacher, folder)


def _fits(key: str, positions: int | None, task: Task) -> None:
    if positions is not None and task.max_length > positions:
        raise ImpossibleError(
            f"{task.key}.max_length={task.max_length} is longer than the {positions} positions of {key}: set "
            f"{task.key}.max_length={positions}"
        )


def _teachers(cfg: DictConfig, own: CheckedTeacher) -> dict[str, Shape]:
    """The shapes of those who teach; refuses members that cannot stand beside each other."""
    if not (team := teaching_members(cfg)):
        return {OWN: own.teacher}
    shapes = {}
    for member in team:
        try:
            found = check_teacher(member.cfg) if member.role == "teacher" else check(member.cfg)
            _same_task(found.task, own.task)
            _same_tokenizer(found.teacher_folder, own.teacher_folder)
        except KdbenchError as error:
            raise type(error)(f"team.{member.name}: {error}") from error
        shapes[member.name] = found.student if isinstance(found, Checked) else found.teacher
    for name, stage in cfg.stages.items():
        if distils(plain(stage)):
            combiner_class(cfg, str(name)).check(list(shapes), list(shapes.values()))
    return shapes


def _same_task(theirs: Task, ours: Task) -> None:
    if (theirs.name, theirs.labels, theirs.kind) != (ours.name, ours.labels, ours.kind):
        raise ImpossibleError(
            f"it learns {theirs.name} with the labels {list(theirs.labels)}, but the run {ours.name} with "
            f"{list(ours.labels)}: all teachers learn the run's task, so leave data out of its overrides"
        )


def _same_tokenizer(theirs: Path, ours: Path) -> None:
    if tokenizer_fingerprint(theirs) != tokenizer_fingerprint(ours):
        raise ImpossibleError(
            f"its tokenizer ({theirs}) is not that of the run's teacher ({ours}), so that they would read different "
            "tokens: choose teachers of one tokenizer"
        )


def student_shape(options: Mapping[str, Any], task: Task) -> Shape:
    """The shape of the student that these options describe: the `shape` function beside its builder says it."""
    module = importlib.import_module(str(options["_target_"]).rpartition(".")[0])
    for key in ("layers", "width", "heads", "intermediate", "max_positions", "embedding_width", "groups"):
        if key in options:
            whole(f"student.{key}", options[key])
    if "dropout" in options:
        share("student.dropout", options["dropout"], below=True)
    shape: Shape = module.shape(options, task.outputs, task.tells_words)
    if task.kind != "span":
        return shape
    if refuse := getattr(module, "refuse_spans", None):
        refuse(options)
    return of_spans(shape)


def _micro_batches(stage: str, options: Mapping[str, Any]) -> None:
    """Refuse accumulation where a term compares the samples of a batch with each other."""
    if options["training"]["accumulate"] == 1:
        return
    for name, term in options["terms"].items():
        if mixes_samples(term):
            raise ImpossibleError(
                f"stages.{stage}.training.accumulate={options['training']['accumulate']} cuts the batches in which the "
                f"term '{name}' compares samples with each other: set training.accumulate=1"
            )


def _terms(cfg: DictConfig, stage: str, task: Task, teachers: Mapping[str, Shape]) -> tuple[Taps, ...]:
    """Refuse terms that cannot work; what they, and a team's combiner, read of each teacher."""
    terms: Mapping[str, Any] = plain(cfg.stages[stage].terms)
    student = _student(cfg, task)
    compared: dict[str, str] = {}
    read = [Taps() for _ in teachers]
    for name, term in terms.items():
        key = f"stages.{stage}.terms.{name}"
        for place, (teacher, shape) in enumerate(teachers.items()):
            try:
                parts = parts_of(key, term, student, shape)
            except ImpossibleError as error:
                raise ImpossibleError(str(error) if teacher == OWN else f"team.{teacher}: {error}") from None
            read[place] |= parts.teacher_taps
            if parts.knowledge.of_hidden_words and not task.is_corpus:
                raise ImpossibleError(
                    f"{key} learns the words that a corpus hides, and {task.name} hides none: choose data=corpus, "
                    f"stages.{stage}.data=corpus, or another knowledge"
                )
        if teachers.keys() != {OWN}:
            refuse_unmergeable(key, term, combiner_class(cfg, stage))
        what = repr({key: value for key, value in term.items() if key not in ("weight", "reduction")})
        if what in compared:
            raise ImpossibleError(
                f"stages.{stage}.terms: '{compared[what]}' and '{name}' compare the same thing: choose another "
                "knowledge for one of them, method=kd for logits alone or method=label for no distillation, or set the "
                "weight of one to 0"
            )
        compared[what] = name
    if any(taps != Taps() for taps in read) and teachers.keys() != {OWN}:
        more = [combiner_class(cfg, stage).taps(place, shape) for place, shape in enumerate(teachers.values())]
        read = [taps | own for taps, own in zip(read, more, strict=True)]
    return tuple(read)
