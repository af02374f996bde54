"""The settings of one training, and the stream of its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from kdbench.data.batch import Batch, batch_plan, collate
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.value import choice, positive, switch, whole

COUNTS = ("batch_size", "accumulate", "evaluations_per_epoch", "checkpoint_every_steps", "log_every_steps")


@dataclass(frozen=True)
class Training:
    """The group `training`; conf/training/default.yaml says what each setting means."""

    epochs: float
    max_steps: int | None
    batch_size: int
    accumulate: int
    clip_norm: float | None
    batching: Literal["grouped", "exact"]
    unpadded: bool
    evaluations_per_epoch: int
    patience: int | None
    keep: Literal["best", "last"]
    checkpoint_every_steps: int
    log_every_steps: int
    from_start: bool = False

    @classmethod
    def from_config(cls, training: dict[str, Any], key: str = "training") -> Training:
        """Check the settings and refuse what makes no training; `key` is their place in the configuration."""
        unknown = set(training) - {field.name for field in fields(cls)}
        if unknown:
            raise KdbenchError(f"{key}.{min(unknown)} is unknown: `kdbench --cfg job` shows the settings of {key}")
        missing = {field.name for field in fields(cls)} - set(training)
        if missing:
            raise KdbenchError(f"{key}.{min(missing)} has no value: take the group's options from training=default")
        positive(f"{key}.epochs", training["epochs"])
        positive(f"{key}.clip_norm", training["clip_norm"], null="no clipping")
        for name in COUNTS:
            whole(f"{key}.{name}", training[name])
        whole(f"{key}.max_steps", training["max_steps"], null="no limit")
        whole(f"{key}.patience", training["patience"], null="no early stop")
        choice(f"{key}.keep", training["keep"], ("best", "last"))
        choice(f"{key}.batching", training["batching"], ("grouped", "exact"))
        switch(f"{key}.unpadded", training["unpadded"])
        switch(f"{key}.from_start", training["from_start"])
        return cls(**training)

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps that see every row once."""
        return -(-rows // self.batch_size)

    def steps(self, rows: int) -> int:
        """Optimizer steps of the whole training over that many rows."""
        steps = max(1, round(self.epochs * self.steps_per_epoch(rows)))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def evaluated(self, step: int, rows: int) -> bool:
        """Whether an evaluation follows this many steps: so many times an epoch, and at the end."""
        per_epoch = self.steps_per_epoch(rows)
        inside = step % per_epoch or per_epoch
        parts = min(self.evaluations_per_epoch, per_epoch)
        return step == self.steps(rows) or any(inside == part * per_epoch // parts for part in range(1, parts + 1))


@dataclass(frozen=True)
class BatchStream:
    """The batches of a whole training from step `start` on: the epochs' plans, one after the other.

    A function of (split, training, seed) alone, so that a resumed training sees what an undisturbed one would.
    `variant` gives the rows' version for an epoch, as many rows in the same order; None: `split` in every epoch.
    """

    split: Split
    training: Training
    seed: int
    padding_id: int
    start: int = 0
    variant: Callable[[int], Split] | None = None

    def __iter__(self) -> Iterator[Batch]:
        steps = self.training.steps(len(self.split))
        per_epoch = self.training.steps_per_epoch(len(self.split))
        step = self.start
        while step < steps:
            epoch = step // per_epoch
            split = self.split if self.variant is None else self.variant(epoch)
            plan = batch_plan(split.row_lengths, self.training.batch_size, self.seed, epoch, self.training.batching)
            for rows in plan[step - epoch * per_epoch :]:
                if step == steps:
                    return
                yield collate(split, rows, self.padding_id, self.training.unpadded)
                step += 1
