"""Teaching a student: frozen teacher, named terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.data.batch import Batch
from kdbench.model import Model
from kdbench.module.fitted import Fitted, LearningRate
from kdbench.module.training import Training
from kdbench.outputs import ModelOutputs, Taps
from kdbench.progress import Progress
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import Term


def teacher_taps(terms: Iterable[Term]) -> Taps:
    """What terms read of their teacher together."""
    return reduce(or_, (term.teacher_taps for term in terms), Taps())


class StudentModule(Fitted):
    """A student that learns from a stage's terms.

    The teacher is deliberately no submodule: so it is in no checkpoint, no optimizer and no `train()` call.

    Args:
        model: the student.
        teacher: gives what the terms read of a teacher (`teacher_taps`); None where every term learns from labels.
        terms: the stage's, in order.
        optimizer, lr_schedule, training, steps: see `Fitted`.
        steps_per_epoch: for a matching that is drawn anew every epoch; None: the training is one epoch.
    """

    def __init__(
        self,
        model: Model,
        teacher: TeacherOutputs | None,
        terms: Sequence[Term],
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        lr_schedule: LearningRate,
        training: Training,
        steps: int,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(model, optimizer, lr_schedule, training, steps)
        self.steps_per_epoch = steps_per_epoch or steps
        self.terms = nn.ModuleList(terms)
        self._terms = tuple(terms)
        self.names = tuple(term.name for term in terms)
        self.student_taps = reduce(or_, (term.student_taps for term in terms), Taps())
        self.source = teacher

    @property
    def teacher(self) -> Model | None:
        """The model behind the source; None where files stand in its place."""
        return None if self.source is None else self.source.model

    @property
    def progress(self) -> Progress:
        return Progress(self.done, self.steps, self.steps_per_epoch)

    def on_fit_start(self) -> None:
        if self.source is not None:
            self.source.to(self.device)

    def losses(self, batch: Batch) -> Tensor:
        target = None if self.source is None else self.source(batch, self.progress.epoch)
        return self.compare(self.model(batch, self.student_taps), target)

    def compare(self, learned: ModelOutputs, target: ModelOutputs | None) -> Tensor:
        """The weighted losses of a batch, given what student and teacher say of it; see `losses`."""
        progress = self.progress
        samples = torch.stack([term(learned, target, progress) for term in self.terms])
        # One mean and one product for all terms: six of each would be a tenth of a millisecond, forward and backward.
        return samples.mean(dim=1) * samples.new_tensor([term.weight_at(progress) for term in self._terms])
