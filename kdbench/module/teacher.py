"""Fine-tuning a teacher on the labels of a task, or on the words of a corpus."""

from __future__ import annotations

from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.knowledge.masked_words import MaskedWords
from kdbench.module.fitted import Fitted
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.mse import mse
from kdbench.outputs import Taps
from kdbench.term import Term

WORDS = Term("label", MaskedWords(), cross_entropy)


class TeacherModule(Fitted):
    """Any encoder, trained on what the data says: cross-entropy over classes, squared error for a regression, and
    cross-entropy over the vocabulary for masked words."""

    names = ("label",)
    settings_of = "teacher."

    def losses(self, batch: Batch, micro_batch: int = 0) -> Tensor:
        classes = self.model.shape.classes
        outputs = self.model(batch, Taps(logits=classes > 0, decoder_inputs=classes == 0))
        if classes == 0:
            samples: Tensor = WORDS(outputs, None)
        else:
            samples = (cross_entropy if classes > 1 else mse)(outputs.logits, batch.labels)
        return samples.mean().reshape(1)
