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
from kdbench.term import Term


class StudentModule(Fitted):
    """A student that learns from a stage's terms.

    The teacher is deliberately no submodule: so it is in no checkpoint, no optimizer and no `train()` call. It is put
    into evaluation mode and frozen here, and runs without a graph.

    Args:
        model: the student.
        teacher: None where every term learns from labels.
        terms: the stage's, in order.
        optimizer, lr_schedule, training, steps: see `Fitted`.
    """

    def __init__(
        self,
        model: Model,
        teacher: Model | None,
        terms: Sequence[Term],
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        lr_schedule: LearningRate,
        training: Training,
        steps: int,
    ) -> None:
        super().__init__(model, optimizer, lr_schedule, training, steps)
        self.terms = nn.ModuleList(terms)
        self.names = tuple(term.name for term in terms)
        self.student_taps = reduce(or_, (term.student_taps for term in terms), Taps())
        self.teacher_taps = reduce(or_, (term.teacher_taps for term in terms), Taps())
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        self._teacher = (teacher,)  # in a tuple, which nn.Module does not look into
        self._weights = [term.weight for term in terms]

    @property
    def teacher(self) -> Model | None:
        return self._teacher[0]

    def on_fit_start(self) -> None:
        if self.teacher is not None:
            self.teacher.to(self.device)

    def teach(self, batch: Batch) -> ModelOutputs | None:
        """The teacher's outputs; None where no term reads any."""
        if self.teacher is None or self.teacher_taps == Taps():
            return None
        with torch.no_grad():
            outputs: ModelOutputs = self.teacher(batch, self.teacher_taps)
        return outputs

    def losses(self, batch: Batch) -> Tensor:
        target = self.teach(batch)
        learned = self.model(batch, self.student_taps)
        return torch.stack(
            [term(learned, target).mean() * weight for term, weight in zip(self.terms, self._weights, strict=True)]
        )
