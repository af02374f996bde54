"""What a stage reads of its teacher, and what becomes of that: known before anything is computed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from kdbench.augmentation.base import Augmentation
from kdbench.config import instantiate, plain
from kdbench.data.split import Split
from kdbench.device import resolve_device
from kdbench.language import augmentation_node
from kdbench.module.training import Training
from kdbench.outputs import Stream, Taps
from kdbench.plan import RunPlan
from kdbench.shape import Shape
from kdbench.signature import signature
from kdbench.store import Store
from kdbench.teacher_outputs.choice import Choice, Question, choose
from kdbench.teacher_outputs.stream import name

KIND = "outputs"
SPLIT = "train"
VERSION = 1
"""Of what the files hold."""


@dataclass(frozen=True)
class Reading:
    """A stage's demand of its teacher.

    Attributes:
        stage: its key.
        reader: its signature, one for all runs that share it.
        taps: what its terms read.
        shape: of the teacher.
        teacher, data: their signatures.
        settings: the node `teacher`.
        training: of the stage.
        device: `cpu` or `cuda`.
        label: of teacher and task, for a reader.
        augmentation: of the rows; `augmented` is its node.
        substituted: the signature of the vocabulary whose substitutes the teacher reads in the place of removed words;
            None: it reads the rows as they are.
    """

    stage: str
    reader: str
    taps: Taps
    shape: Shape
    teacher: str
    data: str
    settings: Mapping[str, Any]
    training: Training
    device: str
    label: str
    augmentation: Augmentation
    augmented: Mapping[str, Any]
    substituted: str | None = None

    def versions(self, rows: int) -> int:
        """How many versions of the rows the stage sees, of those that its augmentation has."""
        return min(self.augmentation.variants, -(-self.training.steps(rows) // self.training.steps_per_epoch(rows)))

    def fingerprint(self, version: int = 0) -> dict[str, Any]:
        """What determines the outputs, besides which of them: it stands in every file's `meta.json`."""
        precisions = {key: self.settings[key] for key in ("computed_in", "stored_in")}
        about = {"teacher": self.teacher, "data": self.data, "split": SPLIT, **precisions}
        if self.substituted is not None:
            about["substituted"] = self.substituted
        return {**about, "augmentation": self.augmented, "version": version} if self.augmentation.changes else about

    def signatures(self, version: int = 0) -> dict[Stream, str]:
        """The signature of each stream's artefact."""
        about = {**self.fingerprint(version), "layout": VERSION}
        return {stream: signature(KIND, {**about, "stream": name(stream)}) for stream in self.taps}

    def question(self, store: Store, split: Split, shared_by: int | None = None) -> Question:
        """What the choice depends on, for the rows of that split, in that store as it is now."""
        rows = len(split)
        epochs = self.training.steps(rows) / self.training.steps_per_epoch(rows)
        return Question(
            taps=self.taps,
            shape=self.shape,
            lengths=split.lengths,
            precision=self.settings["stored_in"],
            readings=epochs * (self.settings["shared_by"] if shared_by is None else shared_by),
            stored=self._stored(store, self.versions(rows)),
            max_bytes=float(self.settings["max_bytes"]),
            free_bytes=_free_bytes(store),
            device=self.device,
            copies=self.versions(rows),
        )

    def _stored(self, store: Store, versions: int) -> set[Stream]:
        signed = [self.signatures(version) for version in range(versions)]
        return {stream for stream in self.taps if all(store.has(KIND, each[stream]) for each in signed)}

    def choose(self, store: Store, split: Split, shared_by: int | None = None) -> Choice:
        """Files or a live teacher."""
        return choose(self.settings["outputs"], self.question(store, split, shared_by))


def readings(cfg: DictConfig, plan: RunPlan) -> dict[str, tuple[Reading, ...]]:
    """What the stages of a run read of those who teach it, in their order; stages that learn from labels alone are left
    out."""
    device = resolve_device(cfg.device.accelerator)
    signed = {step.label: step.signature for step in plan.steps if step.kind == "stage"}
    augmented = {stage: augmentation_node(cfg, stage) for stage in plan.checked.taps}
    mapped = plan.vocabulary is not None and cfg.vocabulary.teacher_input == "mapped"
    substituted = plan.vocabulary.signature if plan.vocabulary is not None and mapped else None
    return {
        stage: tuple(
            Reading(
                stage=stage,
                reader=signed[stage],
                taps=taps,
                shape=teacher.shape,
                teacher=teacher.signature,
                data=plan.side(stage).data,
                settings=plain(cfg.teacher),
                training=Training.from_config(plain(cfg.stages[stage].training), f"stages.{stage}.training"),
                device=device,
                label=teacher.label,
                augmentation=instantiate(augmented[stage]),
                augmented=augmented[stage],
                substituted=substituted,
            )
            for teacher, taps in zip(plan.taught_by(stage), read, strict=True)
        )
        for stage, read in plan.checked.taps.items()
        if any(taps != Taps() for taps in read)
    }


def demands(cfg: DictConfig, plan: RunPlan) -> list[Reading]:
    """The readings of all stages that are not in the store."""
    done = {step.signature for step in plan.steps if step.done}
    return [reading for found in readings(cfg, plan).values() for reading in found if reading.reader not in done]


def sharing(runs: Iterable[Iterable[Reading]]) -> list[int]:
    """For each run, how many stages of all the runs read the least shared of its streams; 1 where it reads none. A
    stage that several runs share reads once."""
    demands = [{(found, reading.reader) for reading in run for found in reading.signatures().values()} for run in runs]
    counted = Counter(found for found, _ in {each for demand in demands for each in demand})
    return [min((counted[found] for found, _ in demand), default=1) for demand in demands]


def describe(runs: Iterable[Iterable[Reading]], store: Store) -> list[str]:
    """Lines of a plan: what becomes of the teachers' outputs, each demand once, with the runs that share it."""
    runs = [list(run) for run in runs]
    lines: Counter[str] = Counter()
    for run, shared_by in zip(runs, sharing(runs), strict=True):
        for reading in run:
            rows = Split.load(store.path("data", reading.data), SPLIT) if store.has("data", reading.data) else None
            known = None if rows is None else reading.choose(store, rows, shared_by)
            lines[f"outputs of {reading.label}: {known or 'to be chosen once the data is tokenised'}"] += 1
    return [f"{line}, {count} {'run' if count == 1 else 'runs'}" for line, count in lines.items()]


def _free_bytes(store: Store) -> int:
    folder = store.root
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
