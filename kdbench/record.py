"""The record of a run: one JSON that holds the question, the answer, and what it was made from."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdbench import cost
from kdbench.artefact import MANIFEST
from kdbench.config import plain
from kdbench.context import EVALUATION_BATCH, Context
from kdbench.data.split import Split
from kdbench.model import Model, load_weights
from kdbench.module.predictions import predictions
from kdbench.ood import OodSet, evaluate_elsewhere, ood_sets, rows_of_set
from kdbench.stage import build_student
from kdbench.store import read_json, write_json
from kdbench.teacher import load_teacher, teacher_record

PACKAGES = ("kdbench", "torch", "pytorch-lightning", "transformers", "datasets", "hydra-core", "numpy", "scikit-learn")


def build_record(context: Context, folder: Path) -> None:
    """Evaluate the finished student on every split but the training rows, measure its cost, and write record.json.

    The student's predictions on each split stay beside it, for those who compare predictions.
    """
    cfg, plan, task = context.cfg, context.plan, context.task
    stages = plan.signatures("stage")
    student = _finished_student(context, stages[-1])
    teacher = None if plan.teacher is None else teacher_record(context.teacher_path)
    with context.timed("evaluate"):
        evaluated = _evaluated(context, student, folder)
    with context.timed("cost"):
        measured = cost.measure(student.cpu())
    record: dict[str, Any] = {
        "kind": "run",
        "status": "finished",
        "label": f"{task.name}: " + ", ".join(f"{key}={value}" for key, value in cfg.axes.items() if key != "data"),
        "signature": plan.signature,
        "axes": plain(cfg.axes),
        "config": {key: value for key, value in plain(cfg).items() if key not in ("axes", "plan", "sweep", "paths")},
        "task": task.name,
        "score": task.score,
        **evaluated,
        "teacher": None if teacher is None else {"signature": plan.teacher, "metrics": teacher["metrics"]},
        "teacher_cost": None if teacher is None else teacher["cost"],
        **_team(context),
        **_ood(context, student),
        "student": measured,
        "data": plan.data,
        "vocabulary": None if plan.vocabulary is None else plan.vocabulary.signature,
        "stages": stages,
        "built_from": plan.built_from,
        **_trained(context, stages),
        "seconds": seconds(context),
        "seed": cfg.seed,
        "versions": versions(),
        "git": commit(),
    }
    write_json(folder / "record.json", record)


def _finished_student(context: Context, stage: str) -> Model:
    """The student as its last stage left it, on the run's device."""
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
        student = build_student(context.cfg, context.task, context.tokenizer, context.vocabulary)
    load_weights(student, context.store.path("stage", stage))
    return student.to(context.device)


def _evaluated(context: Context, student: Model, folder: Path) -> dict[str, dict[str, float]]:
    """Scores on every labelled split but the training rows, and the agreement with a teacher on each."""
    metrics = context.evaluate_all(student, folder)
    agreements: dict[str, float] = {}
    if context.plan.teacher is not None:
        for split in (each for each in context.splits if each != "train"):
            said, taught = (np.load(where / f"predictions.{split}.npy") for where in (folder, context.teacher_path))
            agreements[split] = agreement(said, taught, context.task.kind)
    return {"metrics": metrics, "agreement": agreements}


def _trained(context: Context, stages: list[str]) -> dict[str, Any]:
    """What the stages noted while they trained."""
    entries = [read_json(context.store.path("stage", signature) / "stage.json") for signature in stages]
    named = zip(context.cfg.stages, entries, strict=True)
    return {
        "start_metrics": entries[0]["start_metrics"],
        "history": [{"stage": name, **row} for name, entry in named for row in entry["history"]],
        "guards": [sentence for entry in entries for sentence in entry["guards"]],
    }


def _ood(context: Context, student: Model) -> dict[str, Any]:
    """Scores of the student and of its teacher on other data sets, by their names."""
    if not (sets := ood_sets(context.cfg.ood, context.task, context.cfg.data.source, context.cfg.student)):
        return {}
    models = {"metrics": student.to(context.device)}
    if context.plan.teacher is not None:
        teacher = load_teacher(context.teacher_path, context.task.head(context.tokenizer))
        models["teacher_metrics"] = teacher.to(context.device)

    def say(model: Model, rows: Split) -> np.ndarray:
        return predictions(context.task, model, rows, EVALUATION_BATCH, context.tokenizer.pad_token_id, context.device)

    def read(each: OodSet) -> Split:
        return rows_of_set(each, context.store, context.plan.data_root, context.plan.checked.teacher_folder)

    with context.timed("ood"):
        finished = {} if context.plan.teacher is None else {"teacher_metrics": context.plan.teacher}
        return {"ood": evaluate_elsewhere(sets, models, say, read, finished)}


def _team(context: Context) -> dict[str, Any]:
    """The members of a team with their scores, and those of their pilots where there are any."""
    if context.cfg.team is None or not context.plan.teachers:
        return {}
    members = zip(context.plan.teachers, context.teacher_scores(), strict=True)
    found = {teacher.name: {"signature": teacher.signature, "score": score} for teacher, score in members}
    for pilot, score in zip(context.plan.pilots, context.pilot_scores(), strict=True):
        found[pilot.name]["pilot_score"] = score
    return {"team": found}


def seconds(context: Context) -> dict[str, float]:
    """The seconds of each phase; of the teacher, the language model and the stages those
    of their making, also where they were reused."""
    plan, names = context.plan, [str(name) for name in context.cfg.stages]
    made = [("teacher", "teacher", signature) for signature in plan.signatures("teacher")]
    if plan.language is not None:
        made += [("language", "teacher", signature) for signature in plan.language.plan.signatures("teacher")]
    made += [(name, "stage", signature) for name, signature in zip(names, plan.signatures("stage"), strict=True)]
    found = {phase: round(value, 3) for phase, value in context.seconds.items()}
    for phase, kind, signature in made:
        found[phase] = read_json(context.store.path(kind, signature) / MANIFEST)["seconds"]
    return found


def agreement(student: np.ndarray, teacher: np.ndarray, kind: str) -> float:
    """The share of rows on which two models choose the same class, of questions to which they give the same answer, or
    of places at which they tell the same word; of a regression, Pearson's r of their outputs."""
    if kind == "span":
        return float((student[:, :2] == teacher[:, :2]).all(axis=1).mean())
    if kind == "words":
        return float((student[:, 0] == teacher[:, 0]).mean())
    if student.shape[1] > 1:
        return float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean())
    left, right = student[:, 0] - student.mean(), teacher[:, 0] - teacher.mean()
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / scale) if scale else 0.0


def versions() -> dict[str, str]:
    """The versions of the packages that can change a result."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a bare checkout has no metadata of its own
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that kdbench runs from; None where it is installed as a package."""
    source = Path(__file__).resolve().parent.parent
    if not (source / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
