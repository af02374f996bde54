"""A term that several teachers teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

import torch
from torch import Tensor, nn

from kdbench.combiner.base import Combiner, Lesson
from kdbench.outputs import Taps
from kdbench.progress import Progress
from kdbench.term import Term


class TeamTerm(nn.Module):
    """One summand of the loss with a form for each teacher of a team: knowledge, objective and weight are the same, the
    layer pairs and projections each teacher's own.

    Args:
        forms: in the order of the team.
    """

    def __init__(self, forms: Sequence[Term]) -> None:
        super().__init__()
        self.forms = nn.ModuleList(forms)
        self._forms = tuple(forms)
        self.name, self.knowledge, self.weight_at = forms[0].name, forms[0].knowledge, forms[0].weight_at

    @property
    def student_taps(self) -> Taps:
        """What must be captured of the student."""
        return reduce(or_, (form.student_taps for form in self._forms))

    def forward(self, lesson: Lesson, combiner: Combiner, progress: Progress) -> Tensor:
        """The unweighted loss of each sample, (B,), over the teachers that were asked."""
        if not lesson.said:
            assert lesson.student.logits is not None  # a combiner that may ask nobody reads them
            return 0.0 * lesson.student.logits.flatten(1).sum(dim=1)
        if combiner.merges:
            return self._merged(lesson, combiner, progress)
        losses = [self._forms[place](lesson.student, said, progress) for place, said in lesson.said.items()]
        return (combiner.weights(lesson, self.knowledge.kind) * torch.stack(losses)).sum(dim=0)

    def _merged(self, lesson: Lesson, combiner: Combiner, progress: Progress) -> Tensor:
        form = self._forms[0]
        logits = torch.stack([said.logits for said in lesson.said.values() if said.logits is not None])
        target = combiner.merged(lesson, logits, float(form.option("temperature", progress, 1.0)))
        first = next(iter(lesson.said.values()))
        return form(lesson.student, replace(first, logits=target), progress)
