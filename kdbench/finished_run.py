"""A finished run as others use it: record, task, student and teacher, loaded from the store."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.task import Task
from kdbench.error import KdbenchError
from kdbench.pretrained import locate, read_config
from kdbench.store import Store, read_json
from kdbench.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from kdbench.model import Model
    from kdbench.vocabulary.tables import Vocabulary


@dataclass(frozen=True)
class FinishedRun:
    """One run whose record is in the store; models are loaded when they are asked for."""

    store: Store
    signature: str

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of record.json."""
        record = read_json(self.folder / "record.json")
        assert isinstance(record, dict)
        return record

    @property
    def folder(self) -> Path:
        return self.store.path("run", self.signature)

    @cached_property
    def task(self) -> Task:
        """The task the student was trained on."""
        return Task.from_config(self.record["config"]["data"])

    @property
    def teacher_folder(self) -> Path:
        """The Hugging Face folder of the teacher.

        Raises:
            KdbenchError: a student that learned from its corpus alone.
        """
        if self.record["teacher"] is None:
            raise KdbenchError(
                f"the run {self.signature} has no teacher, since its student learned from the corpus alone: leave its "
                "agreement with a teacher out, with agreement=false"
            )
        return self._artefact("teacher", self.record["teacher"]["signature"])

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of the tokenizer of teacher and student: the teacher's, or where that came from."""
        if self.record["teacher"] is not None:
            return self.teacher_folder
        settings = self.record["config"]["teacher"]
        return locate(settings["source"], settings["model"], settings["revision"], "teacher.model")

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of teacher and student."""
        return load_tokenizer(self.tokenizer_folder)

    @property
    def positions(self) -> int:
        """The longest sequence that student and teacher both take, in tokens."""
        student = self.record["config"]["student"].get("max_positions")
        teacher = read_config(self.tokenizer_folder).get("max_position_embeddings")
        return min(limit for limit in (student, teacher, sys.maxsize) if isinstance(limit, int))

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the student; None where it has all of its tokenizer's."""
        from kdbench.vocabulary.tables import Vocabulary

        signature = self.record.get("vocabulary")
        return None if signature is None else Vocabulary.load(self._artefact("vocabulary", signature))

    def student(self) -> Model:
        """The finished student on the CPU, in evaluation mode."""
        import torch
        from omegaconf import OmegaConf

        from kdbench.model import load_weights
        from kdbench.stage import build_student

        cfg = OmegaConf.create(self.record["config"])
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
            model = build_student(cfg, self.task, self.tokenizer, self.vocabulary)
        load_weights(model, self._artefact("stage", self.record["stages"][-1]))
        model.eval()
        return model

    def teacher(self) -> Model:
        """The teacher on the CPU, frozen and in evaluation mode."""
        from kdbench.teacher import load_teacher

        return load_teacher(self.teacher_folder, self.task.head(self.tokenizer))

    def _artefact(self, kind: str, signature: str) -> Path:
        if not self.store.has(kind, signature):
            raise KdbenchError(
                f"the run {self.signature} was built from the {kind} {signature}, which is no longer whole in "
                f"the store {self.store.root}: delete the run with `kdbench-store prune` and repeat its command"
            )
        return self.store.path(kind, signature)
