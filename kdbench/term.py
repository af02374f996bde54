"""One summand of the loss: weight * objective(projection(knowledge(student)), knowledge(teacher))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from kdbench.error import KdbenchError
from kdbench.knowledge.base import Knowledge
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.projection.base import Projection

Objective = Callable[..., Tensor]
WITHOUT_LAYERS: Pairs = [(0, 0)]


class Term(nn.Module):
    """A named summand. Its only parameters are those of its projection.

    Args:
        name: the term's key in the stage.
        knowledge: what is read from either side.
        objective: (student, teacher, mask) -> (B,).
        pairs: the (student, teacher) layers that meet; `WITHOUT_LAYERS` for a knowledge that has none.
        projection: how unequal widths meet; None where there is none to be met.
        weight: the factor before the term.
        reduction: over pairs: `sum` as in TinyBERT and the unified framework (every match has weight 1), or `mean`.
    """

    def __init__(
        self,
        name: str,
        knowledge: Knowledge,
        objective: Objective,
        pairs: Pairs = WITHOUT_LAYERS,
        projection: Projection | None = None,
        weight: float = 1.0,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        if not pairs:
            raise KdbenchError(
                f"term '{name}' compares no layers, so it would see no tensors: "
                "its matching must name at least one pair"
            )
        self.name, self.knowledge, self.objective = name, knowledge, objective
        self.pairs, self.projection, self.weight, self.reduction = pairs, projection, weight, reduction

    @property
    def student_taps(self) -> Taps:
        """What must be captured of the student."""
        return self.knowledge.taps({student for student, _ in self.pairs})

    @property
    def teacher_taps(self) -> Taps:
        """What must be captured of the teacher; nothing where the labels stand in its place."""
        return Taps() if self.knowledge.from_labels else self.knowledge.taps({teacher for _, teacher in self.pairs})

    def forward(self, student: ModelOutputs, teacher: ModelOutputs | None) -> Tensor:
        """The unweighted loss of each sample, (B,)."""
        source = student if self.knowledge.from_labels else teacher
        assert source is not None, f"term '{self.name}' needs a teacher's outputs"
        mask = self.knowledge.mask(student)
        losses = []
        for position, (student_layer, teacher_layer) in enumerate(self.pairs):
            try:
                left = self.knowledge.extract(student, student_layer)
                right = self.knowledge.target(source, teacher_layer)
            except (KeyError, AssertionError):
                raise KdbenchError(
                    f"term '{self.name}' sees no tensors at the pair of student layer {student_layer} and teacher "
                    f"layer {teacher_layer}: a model has not handed out what {type(self.knowledge).__name__} reads"
                ) from None
            if self.projection is not None:
                left, right = self.projection(left, right, position)
            losses.append(self.objective(left, right, mask))
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum(dim=0)
        return total / len(losses) if self.reduction == "mean" else total
