"""What every step of a run's making needs, gathered once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.device import resolve_device
from kdbench.error import KdbenchError
from kdbench.model import Model, weights_digest
from kdbench.module.predictions import predictions, scores
from kdbench.plan import RunPlan, Teacher, TeacherPlan
from kdbench.shape import Shape
from kdbench.store import Store, read_json
from kdbench.tokenizer import load_tokenizer
from kdbench.vocabulary.tables import Vocabulary

EVALUATION_BATCH = 64
"""Rows a batch of an evaluation: plays no part in a result, so it is no setting."""

REMEMBERED = 32
"""Evaluations of a run whose logits stay at hand: a training may have hundreds, of many rows each."""


@dataclass
class TeacherContext:
    """A teacher in the making: configuration, plan, store, tokenised data, loggers, and the seconds of its phases.

    `language` is that of the corpus and its language model, where the plan has one.
    """

    cfg: DictConfig
    plan: TeacherPlan
    store: Store
    splits: Mapping[str, Split]
    loggers: Sequence[Logger] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    language: TeacherContext | None = None
    _predictions: dict[tuple[str, Shape, str], Any] = field(default_factory=dict, repr=False)

    @property
    def task(self) -> Task:
        return self.plan.checked.task

    @property
    def teacher_path(self) -> Path:
        """The folder of the teacher's artefact, where the plan has one."""
        assert self.plan.teacher is not None
        return self.store.path("teacher", self.plan.teacher)

    @cached_property
    def tokenizer(self) -> Any:
        """The teacher's tokenizer, which is the student's too."""
        return load_tokenizer(self.plan.checked.teacher_folder)

    @cached_property
    def device(self) -> str:
        """Where models run: the group `device`, with `auto` resolved."""
        return resolve_device(self.cfg.device.accelerator)

    @property
    def lightning_accelerator(self) -> str:
        return "gpu" if self.device == "cuda" else "cpu"

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of a block to its phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def predictions(self, model: Model, split: str) -> Any:
        """What a model says of a split; see `kdbench.module.predictions`.

        Computed once for the same weights: the finished model has been evaluated in its training already.
        """
        key = (split, model.shape, weights_digest(model))
        if key not in self._predictions:
            rows, padding_id = self.splits[split], self.tokenizer.pad_token_id
            found = predictions(self.task, model, rows, EVALUATION_BATCH, padding_id, self.device)
            self._predictions[key] = found
            if len(self._predictions) > REMEMBERED:
                del self._predictions[next(iter(self._predictions))]
        return self._predictions[key]

    def score(self, predicted: Any, split: str) -> dict[str, float]:
        """The task's metrics of these predictions, as `split/name`."""
        found = scores(self.task, self.splits[split], predicted)
        return {f"{split}/{name}": value for name, value in found.items()}

    def evaluate(self, model: Model, split: str = "validation") -> dict[str, float]:
        """The task's metrics of a model on a split, as `split/name`."""
        return self.score(self.predictions(model, split), split)

    def evaluate_all(self, model: Model, folder: Path) -> dict[str, float]:
        """The metrics of a finished model on every labelled split but the training rows; what it says of each of these,
        labelled or not, stays in the folder."""
        found: dict[str, float] = {}
        for split in self.splits:
            if split != "train":
                predicted = self.predictions(model, split)
                np.save(folder / f"predictions.{split}.npy", predicted)
                if self.labelled(split):
                    found |= self.score(predicted, split)
        return found

    def labelled(self, split: str) -> bool:
        """Whether a split has anything to score against."""
        return self.task.is_corpus or bool(self.splits[split].labelled.any())


@dataclass
class Context(TeacherContext):
    """One run in the making."""

    plan: RunPlan
    vocabulary: Vocabulary | None = None

    def side(self, stage: str) -> TeacherContext:
        """What a stage learns from: the run's own data, or its corpus."""
        return self.language if self.language is not None and stage in self.plan.on_corpus else self

    def path_of(self, teacher: Teacher) -> Path:
        """The folder of the artefact of one who teaches.

        Raises:
            KdbenchError: an assistant's weights that were deleted, while its record is still there.
        """
        if not self.store.has(teacher.kind, teacher.signature):
            raise KdbenchError(
                f"{teacher.label} is the {teacher.kind} {teacher.signature}, which is no longer whole in the store "
                f"{self.store.root}: delete its run with `kdbench-store prune` and repeat the command"
            )
        return self.store.path(teacher.kind, teacher.signature)

    def teacher_scores(self) -> list[float]:
        """Those of the team's members on the validation rows."""
        return [self._score(self._record(teacher)) for teacher in self.plan.teachers]

    def pilot_scores(self) -> list[float]:
        """Those of the students that the members taught alone, on the validation rows."""
        return [self._score(self.store.path("run", pilot.plan.signature)) for pilot in self.plan.pilots]

    def _record(self, teacher: Teacher) -> Path:
        """The folder in which a member's record is: an assistant's is its run's."""
        found = teacher.plan.signature if teacher.plan is not None else teacher.signature
        return self.store.path("run" if teacher.kind == "stage" else "teacher", found)

    def _score(self, folder: Path) -> float:
        return float(read_json(folder / "record.json")["metrics"].get(self.task.score, math.nan))
