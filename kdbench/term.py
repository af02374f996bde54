"""One summand of the loss: weight * objective(projection(knowledge(student)), knowledge(teacher))."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from kdbench.error import KdbenchError
from kdbench.knowledge.base import Distance, Knowledge, Objective
from kdbench.matching.pairing import Pairing, Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.progress import START, Progress
from kdbench.projection.base import Projection

Schedule = Callable[[float], float]
WITHOUT_LAYERS: Pairs = [(0, 0)]


class Term(nn.Module):
    """A named summand. Its only parameters are those of its projection and of its pairing.

    Args:
        name: the term's key in the stage.
        knowledge: what is read from either side.
        objective: (student, teacher, mask) -> (B,).
        pairing: how the (student, teacher) layers meet; None for a knowledge that has none.
        projection: how unequal widths meet; None where there is none to be met.
        weight: the factor before the term.
        schedules: numbers that change with the progress: `weight`, a further factor, and options of the objective,
            which they replace.
        fused: compute the knowledge's and the objective's work together where the knowledge knows how; False for every
            loss as it is written.
    """

    def __init__(
        self,
        name: str,
        knowledge: Knowledge,
        objective: Objective,
        pairing: Pairing | None = None,
        projection: Projection | None = None,
        weight: float = 1.0,
        schedules: Mapping[str, Schedule] | None = None,
        fused: bool = True,
    ) -> None:
        super().__init__()
        pairing = pairing or Pairing(WITHOUT_LAYERS)
        if not pairing.pairs:
            raise KdbenchError(
                f"term '{name}' compares no layers, so it would see no tensors: "
                "its matching must name at least one pair"
            )
        self.name, self.knowledge, self.objective = name, knowledge, objective
        self.pairing, self.projection, self.weight = pairing, projection, weight
        schedules = dict(schedules or {})
        self.weight_schedule = schedules.pop("weight", None)
        self.schedules = schedules
        self.fused = fused
        self._distance = self._distance_by(objective)

    @property
    def student_taps(self) -> Taps:
        """What must be captured of the student."""
        return self.knowledge.taps({student for student, _ in self.pairing.pairs})

    @property
    def teacher_taps(self) -> Taps:
        """What must be captured of the teacher; nothing where the labels stand in its place."""
        layers = {teacher for _, teacher in self.pairing.pairs}
        return Taps() if self.knowledge.from_labels else self.knowledge.target_taps(layers)

    def weight_at(self, progress: Progress) -> float:
        """The factor before the term at that point of the stage."""
        return self.weight * (1.0 if self.weight_schedule is None else self.weight_schedule(progress.share))

    def option(self, name: str, progress: Progress, default: Any) -> Any:
        """An option of the objective, or of the one that it is put around, at that point of the stage."""
        if name in self.schedules:
            return self.schedules[name](progress.share)
        objective: Any = self.objective
        while isinstance(objective, partial):
            if name in objective.keywords:
                return objective.keywords[name]
            objective = objective.keywords.get("inner")
        return default

    def forward(self, student: ModelOutputs, teacher: ModelOutputs | None, progress: Progress = START) -> Tensor:
        """The unweighted loss of each sample, (B,)."""
        options = {name: schedule(progress.share) for name, schedule in self.schedules.items()}
        distance = self._distance_by(partial(self.objective, **options)) if options else self._distance
        source = student if self.knowledge.from_labels else teacher
        assert source is not None, f"term '{self.name}' needs a teacher's outputs"
        sides = _Sides(self.name, self.knowledge, distance, self.projection, student, source)
        loss: Tensor = (
            sides.joint(self.pairing.drawn(progress)) if self.knowledge.joint else self.pairing(sides, progress)
        )
        # Of a row that is several sequences, the mean of theirs.
        rows = len(loss) if student.labels is None else len(student.labels)
        return loss if len(loss) == rows else loss.view(rows, -1).mean(dim=1)

    def _distance_by(self, objective: Objective) -> Distance:
        """How two sides are compared: chosen once, or at every step for an objective whose options change."""
        fused = self.knowledge.fused(objective) if self.fused else None
        return fused or partial(self.knowledge.distance, objective)


class _Sides:
    """The two sides of a term in one step, each layer of them read and projected at most once."""

    def __init__(
        self,
        term: str,
        knowledge: Knowledge,
        distance: Distance,
        projection: Projection | None,
        student: ModelOutputs,
        teacher: ModelOutputs,
    ) -> None:
        self.term, self.knowledge, self.projection = term, knowledge, projection
        self.compared = distance
        self.outputs = student, teacher
        self.read: dict[tuple[str, int], Tensor] = {}

    def student(self, layer: int) -> Tensor:
        if ("student", layer) not in self.read:
            values = self._extract(self.knowledge.extract, self.outputs[0], "student", layer)
            projection = self.projection
            self.read["student", layer] = values if projection is None else projection.of_student(values, layer)
        return self.read["student", layer]

    def teacher(self, layer: int) -> Tensor:
        if ("teacher", layer) not in self.read:
            values = self._extract(self.knowledge.target, self.outputs[1], "teacher", layer)
            projection = self.projection
            self.read["teacher", layer] = values if projection is None else projection.of_teacher(values, layer)
        return self.read["teacher", layer]

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.compared(student, teacher, self.outputs[0].mask)

    def joint(self, pairs: Pairs) -> Tensor:
        """The distance of all these layers as one tensor, (B,)."""
        extract, target = self.knowledge.extract, self.knowledge.target
        left = self.knowledge.join([self._extract(extract, self.outputs[0], "student", ours) for ours, _ in pairs])
        right = self.knowledge.join([self._extract(target, self.outputs[1], "teacher", theirs) for _, theirs in pairs])
        if self.projection is not None:
            left, right = self.projection.of_student(left, 0), self.projection.of_teacher(right, 0)
        return self.distance(left, right)

    def _extract(
        self, extract: Callable[[ModelOutputs, int], Tensor], outputs: ModelOutputs, role: str, layer: int
    ) -> Tensor:
        try:
            return extract(outputs, layer)
        except (KeyError, AssertionError):
            raise KdbenchError(
                f"term '{self.term}' sees no tensors of the {role}'s layer {layer}: the model has not handed out what "
                f"{type(self.knowledge).__name__} reads"
            ) from None
