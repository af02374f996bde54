"""Refuse before computing: everything about a configuration that can be known to fail is said here, in one sentence.

Reads at most a model's config.json; builds no model and loads no data.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.config import instantiate, plain
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenizer_fingerprint
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.initialization.base import Initialization
from kdbench.module.training import Training
from kdbench.outputs import Taps
from kdbench.pretrained import locate, read_config
from kdbench.shape import Shape, taps_of
from kdbench.teacher_outputs.choice import OUTPUTS
from kdbench.teaching import OWN, combiner_class, distils, refuse_unmergeable, teaching_members
from kdbench.terms import mixes_samples, parts_of
from kdbench.value import choice, positive, share, switch, whole


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
        student: its shape.
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
    _values(cfg)
    own = check_teacher(cfg)
    task = own.task
    student = student_shape(plain(cfg.student), task.outputs)
    _fits("student.max_positions", cfg.student.get("max_positions"), task)
    initialization: Initialization = instantiate(cfg.initialization)
    initialization.check(student, own.teacher)
    Training.from_config(plain(cfg.training))
    teachers = _teachers(cfg, own)
    taps = {}
    for name, stage in cfg.stages.items():
        Training.from_config(plain(stage.training), f"stages.{name}.training")
        taps[str(name)] = _terms(cfg, str(name), student, teachers)
        _micro_batches(str(name), plain(stage))
    return Checked(task, own.teacher, own.teacher_folder, student, teachers, taps)


def check_teacher(cfg: DictConfig) -> CheckedTeacher:
    """Check what a teacher's making depends on; raises as `check`."""
    task = Task.from_config(plain(cfg.data))
    folder = locate(cfg.teacher.source, cfg.teacher.model, cfg.teacher.revision, "teacher.model")
    teacher, positions = _teacher_shape(folder, task.outputs)
    if not cfg.teacher.train:
        _fine_tuned_on(folder, task)
    _fits("the teacher", positions, task)
    Training.from_config(plain(cfg.teacher.training), "teacher.training")
    return CheckedTeacher(task, teacher, folder)


def _fits(key: str, positions: int | None, task: Task) -> None:
    if positions is not None and task.max_length > positions:
        raise ImpossibleError(
            f"data.max_length={task.max_length} is longer than the {positions} positions of {key}: set "
            f"data.max_length={positions}"
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


def _values(cfg: DictConfig) -> None:
    """Refuse single values of the wrong kind, which would otherwise be noticed late or not at all."""
    for key in ("plan", "fused", "guards.preflight", "teacher.train"):
        switch(key, OmegaConf.select(cfg, key))
    for key in ("seed", "teacher.seed", "data.seed"):
        whole(key, OmegaConf.select(cfg, key), least=0)
    choice("guards.teacher_below_start", cfg.guards.teacher_below_start, ("warn", "error"))
    choice("precision.name", cfg.precision.name, ("f32", "bf16"))
    choice("teacher.outputs", cfg.teacher.outputs, OUTPUTS)
    choice("teacher.computed_in", cfg.teacher.computed_in, ("f32", "bf16"))
    choice("teacher.stored_in", cfg.teacher.stored_in, ("f16", "f32"))
    positive("teacher.max_bytes", cfg.teacher.max_bytes)
    whole("teacher.shared_by", cfg.teacher.shared_by)
    whole("teacher.resident", cfg.teacher.resident, null="all of a team")
    choice("device.accelerator", cfg.device.accelerator, ("auto", "cpu", "gpu"))
    for part in ("", "teacher."):
        positive(f"{part}optimizer.lr", OmegaConf.select(cfg, f"{part}optimizer.lr"))
        if (warmup := OmegaConf.select(cfg, f"{part}lr_schedule.warmup_share")) is not None:
            share(f"{part}lr_schedule.warmup_share", warmup)


def student_shape(options: Mapping[str, Any], classes: int) -> Shape:
    """The shape of the student that these options describe: the `shape` function beside its builder says it."""
    module = importlib.import_module(str(options["_target_"]).rpartition(".")[0])
    for key in ("layers", "width", "heads", "intermediate", "max_positions"):
        if key in options:
            whole(f"student.{key}", options[key])
    if "dropout" in options:
        share("student.dropout", options["dropout"], below=True)
    shape: Shape = module.shape(options, classes)
    return shape


def _teacher_shape(folder: Path, classes: int) -> tuple[Shape, int | None]:
    """The teacher's shape, and the longest sequence it takes, read without importing transformers."""
    config = read_config(folder)

    def size(*names: str) -> int | None:
        found = next((config[name] for name in names if name in config), None)
        return found if isinstance(found, int) else None

    layers = size("num_hidden_layers", "n_layers")
    width = size("hidden_size", "dim")
    heads = size("num_attention_heads", "n_heads")
    if layers is None or width is None or heads is None:
        raise KdbenchError(
            f"teacher.model: {folder / 'config.json'} (of type {config.get('model_type')}) does not say how many "
            "layers, which width and how many heads the model has: give an encoder such as BERT"
        )
    shape = Shape(layers, width, heads, classes, taps_of(str(config.get("model_type"))))
    return shape, size("max_position_embeddings")


def _fine_tuned_on(folder: Path, task: Task) -> None:
    """Refuse a ready teacher whose head is of another task."""
    config = read_config(folder)
    named = config.get("kdbench_task")
    names = config.get("id2label")
    labels = [str(names[key]) for key in sorted(names, key=int)] if isinstance(names, Mapping) else []
    count = config.get("num_labels", len(labels) or 2)
    generic = all(label.startswith("LABEL_") for label in labels)
    wrong_names = task.outputs > 1 and labels and not generic and labels != list(task.labels)
    if (named is not None and named != task.name) or count != task.outputs or wrong_names:
        learned = named or f"{labels or count} (its classes)"
        raise ImpossibleError(
            f"teacher.model={folder} was fine-tuned on {learned}, not on {task.name} with the classes "
            f"{list(task.labels) or 'of a regression'}: give a teacher of this task, or "
            "teacher.train=true to fine-tune it"
        )


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


def _terms(cfg: DictConfig, stage: str, student: Shape, teachers: Mapping[str, Shape]) -> tuple[Taps, ...]:
    """Refuse terms that cannot work; what they, and a team's combiner, read of each teacher."""
    terms: Mapping[str, Any] = plain(cfg.stages[stage].terms)
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
