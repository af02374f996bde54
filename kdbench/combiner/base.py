"""How several teachers become one lesson."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kdbench.objective.cross_entropy import cross_entropy
from kdbench.outputs import ModelOutputs, Taps
from kdbench.sampling.base import Draws, Moment
from kdbench.shape import Shape


@dataclass(frozen=True)
class Lesson:
    """One batch: what the student says, and what each teacher that was asked says, by its place in the team."""

    student: ModelOutputs
    said: Mapping[int, ModelOutputs]
    moment: Moment

    @property
    def rows(self) -> int:
        return len(self.student.mask)


class Combiner:
    """Which teachers of a team are asked at a step, and what becomes of their answers.

    Most weigh losses: a term is computed against every teacher that was asked, and the combiner says how much each of
    these losses counts for each row. One that `merges` makes one target of the teachers' logits instead.

    Args:
        draws: the team's distribution; even where no sampling is chosen.
        shapes: of the members.
    """

    sampled: ClassVar[bool] = False
    """Whether a sampling's distribution is used."""

    merges: ClassVar[bool] = False
    """Whether logits are made one target, so that terms of another knowledge cannot be taught."""

    student_taps: ClassVar[Taps] = Taps()
    """What is read of the student besides its terms' taps."""

    def __init__(self, draws: Draws, shapes: Sequence[Shape]) -> None:
        self.draws, self.shapes = draws, tuple(shapes)

    @classmethod
    def check(cls, names: Sequence[str], shapes: Sequence[Shape]) -> None:
        """Refuse a team that cannot be combined so.

        Args:
            names, shapes: of the members.

        Raises:
            ImpossibleError: with the way out.
        """

    @classmethod
    def taps(cls, member: int, shape: Shape) -> Taps:
        """What is read of a member besides the terms' taps."""
        return Taps()

    def asked(self, moment: Moment) -> Sequence[int]:
        """The members that are asked about a batch, in the order of the team; the others do not run."""
        return range(len(self.draws))

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        """How much the loss against each teacher that was asked counts, (asked, B).

        Args:
            lesson: of the batch.
            kind: of the knowledge, see `Knowledge.kind`.
        """
        raise NotImplementedError

    def merged(self, lesson: Lesson, logits: Tensor, temperature: float) -> Tensor:
        """One target of the teachers' logits, (asked, B, C) -> (B, C).

        Args:
            lesson: of the batch.
            logits: before softmax.
            temperature: at which the objective will soften the target.
        """
        raise NotImplementedError

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Called after every optimizer step with the step's micro-batches, for a combiner that learns."""

    def probabilities(self, lesson: Lesson) -> Tensor:
        """Those of the distribution at this step, (n,), where the batch is."""
        logits = lesson.student.logits
        dtype = torch.float32 if logits is None else logits.dtype
        return lesson.student.mask.new_tensor(self.draws.probabilities(lesson.moment.progress), dtype=dtype)


def gold_loss(outputs: ModelOutputs) -> Tensor:
    """The loss of a model's own logits against the gold labels, (B,): cross-entropy at temperature 1 (of a span the
    mean of two), or the squared error of a regression; 0 for a row without a label."""
    assert outputs.logits is not None and outputs.labels is not None
    logits, labels = outputs.logits.detach().float(), outputs.labels
    if labels.is_floating_point():
        return (logits[:, 0] - labels).square().nan_to_num(0.0)
    return cross_entropy(logits, labels)
