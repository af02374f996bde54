"""Fine-tuning a teacher on the labels of a task."""

from __future__ import annotations

from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.module.fitted import Fitted
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.mse import mse
from kdbench.outputs import Taps


class TeacherModule(Fitted):
    """Any encoder, trained on the gold labels: cross-entropy over classes, squared error for a regression."""

    names = ("label",)
    settings_of = "teacher."

    def losses(self, batch: Batch, micro_batch: int = 0) -> Tensor:
        logits = self.model(batch, Taps(logits=True)).logits
        objective = cross_entropy if self.model.shape.classes > 1 else mse
        return objective(logits, batch.labels).mean().reshape(1)
