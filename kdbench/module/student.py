"""Teaching a student: frozen teachers, named terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.combiner.base import Combiner, Lesson
from kdbench.data.batch import Batch
from kdbench.model import Model
from kdbench.module.fitted import Fitted, LearningRate
from kdbench.module.training import Training
from kdbench.outputs import ModelOutputs, Taps
from kdbench.progress import Progress
from kdbench.sampling.base import Moment
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.team_term import TeamTerm
from kdbench.term import Term

NO_ROWS = np.zeros(0, dtype=np.int64)
Said = dict[int, ModelOutputs]
"""What those who were asked about a batch say, by their place in the team."""


def teacher_taps(terms: Iterable[Term]) -> Taps:
    """What terms read of their one teacher together."""
    return reduce(or_, (term.teacher_taps for term in terms), Taps())


class StudentModule(Fitted):
    """A student that learns from a stage's terms.

    Teachers are deliberately no submodules: so they are in no checkpoint, no optimizer and no `train()` call.

    Args:
        model: the student.
        teachers: give what the terms read of a teacher, one for each that teaches; none where every term learns from
            labels.
        terms: the stage's, in order; of a team, a `TeamTerm` for each that learns from more than labels.
        optimizer, lr_schedule, training, steps: see `Fitted`.
        steps_per_epoch: for a matching that is drawn anew every epoch; None: the training is one epoch.
        combiner: of a team; None for a teacher that teaches alone.
    """

    def __init__(
        self,
        model: Model,
        teachers: Sequence[TeacherOutputs],
        terms: Sequence[Term | TeamTerm],
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        lr_schedule: LearningRate,
        training: Training,
        steps: int,
        steps_per_epoch: int | None = None,
        combiner: Combiner | None = None,
    ) -> None:
        super().__init__(model, optimizer, lr_schedule, training, steps)
        self.steps_per_epoch = steps_per_epoch or steps
        self.terms = nn.ModuleList(terms)
        self._terms = tuple(terms)
        self.names = tuple(term.name for term in terms)
        self.student_taps = reduce(or_, (term.student_taps for term in terms), Taps())
        self.sources = tuple(teachers)
        self.combiner = combiner
        if combiner is not None:
            self.student_taps |= combiner.student_taps
        self._lessons: list[Lesson] = []

    @property
    def teachers(self) -> list[Model]:
        """The models behind the sources; none where files stand in their place."""
        return [source.model for source in self.sources if source.model is not None]

    @property
    def progress(self) -> Progress:
        return Progress(self.done, self.steps, self.steps_per_epoch)

    def moment(self, batch: Batch, micro_batch: int = 0) -> Moment:
        """Where a batch stands; its rows are read, which waits for a GPU, only where a combiner may ask for them."""
        rows = NO_ROWS if self.combiner is None else batch.index.numpy(force=True)
        return Moment(self.progress, micro_batch, rows)

    def on_fit_start(self) -> None:
        for source in self.sources:
            source.to(self.device)

    def losses(self, batch: Batch, micro_batch: int = 0) -> Tensor:
        moment = self.moment(batch, micro_batch)
        said = self.ask(batch, moment)
        return self.compare(self.model(batch, self.student_taps), said, moment)

    def ask(self, batch: Batch, moment: Moment) -> Said:
        """What those who teach say of a batch; of a team, those that the combiner asks."""
        asked = range(len(self.sources)) if self.combiner is None else self.combiner.asked(moment)
        return {place: self.sources[place](batch, moment.progress.epoch) for place in asked}

    def compare(self, learned: ModelOutputs, said: Said, moment: Moment) -> Tensor:
        """The weighted losses of a batch, given what student and teachers say of it; see `losses`."""
        progress = moment.progress
        if self.combiner is None:
            samples = torch.stack([term(learned, said.get(0), progress) for term in self.terms])
        else:
            lesson = Lesson(learned, said, moment)
            self._lessons.append(lesson)
            samples = torch.stack([self._taught(term, lesson, self.combiner) for term in self.terms])
        # One mean and one product for all terms: six of each would be a tenth of a millisecond, forward and backward.
        return samples.mean(dim=1) * samples.new_tensor([term.weight_at(progress) for term in self._terms])

    def _taught(self, term: nn.Module, lesson: Lesson, combiner: Combiner) -> Tensor:
        progress = lesson.moment.progress
        found: Tensor = (
            term(lesson, combiner, progress) if isinstance(term, TeamTerm) else term(lesson.student, None, progress)
        )
        return found

    def on_step(self) -> None:
        if self.combiner is not None:
            self.combiner.learn(self._lessons)
            self.forget()

    def forget(self) -> None:
        """Drop the batches since the last step."""
        self._lessons = []
