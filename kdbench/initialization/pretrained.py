"""The weights of a pre-trained model of the student's own shape."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.head import ClassHead, WordHead
from kdbench.initialization.base import Initialization
from kdbench.model import Model, own_weights, take_over
from kdbench.pretrained import Source, fingerprint, locate
from kdbench.shape import Shape
from kdbench.store import Store
from kdbench.student.compressed import of_kept_words
from kdbench.student_folder import is_student_folder, load_model

VERSION = 1
CLASSIFIER = "model.classifier."
OF_TASK = ("classifier.", "spans.")
"""How the heads of our own architectures are called."""


class Pretrained(Initialization):
    """Takes embeddings and layers from a Hugging Face folder or hub name, or from what `kdbench-export` wrote.

    A vocabulary head comes too where both sides have one; a classifier keeps its fresh weights.

    Args:
        source: `folder`, `hub` or `embedded`.
        model: the folder's path, or the hub's name.
        revision: of the hub's repository.
    """

    def __init__(self, model: str, source: Source = "folder", revision: str = "main") -> None:
        self.model, self.source, self.revision = model, source, revision

    def content(self) -> dict[str, object]:
        return {"weights": fingerprint(self._folder())}

    def check(self, student: Shape, teacher: Shape) -> None:
        """Refuse a Hugging Face encoder for a student without attention, which is none, before a teacher is trained."""
        if "scores" not in student.taps and not is_student_folder(self._folder()):
            self._refuse_encoder()

    def _folder(self) -> Path:
        return locate(self.source, self.model, self.revision, "initialization.model")

    def _refuse_encoder(self) -> NoReturn:
        raise ImpossibleError(
            f"initialization.model={self.model} is a Hugging Face encoder, which this student is not: give a folder "
            "that kdbench-export wrote of such a student, or choose initialization=random"
        )

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        from kdbench.encoder.base import Encoder
        from kdbench.encoder.load import from_folder

        folder, bare = self._folder(), student.bare
        ours = is_student_folder(folder)
        if not ours and not isinstance(bare, Encoder):
            self._refuse_encoder()
        head = WordHead() if student.shape.decoder_width else ClassHead(("fresh", "head"))
        donor = load_model(folder) if ours else from_folder(folder, head, fresh=True)
        try:
            take_over(bare, of_kept_words(student, _body(donor)))
        except RuntimeError as error:
            raise ImpossibleError(
                f"initialization.model={self.model} has the shape {donor.shape}, the student {student.shape}: choose "
                "the student and student/size of that model, and its tokenizer as the teacher's"
            ) from error


def _body(donor: Model) -> dict[str, Tensor]:
    """Its weights without those that are of its task alone; a pooler is not, and a vocabulary head serves any."""
    own = own_weights(donor)
    if donor.decoder is not None:
        return own
    return {name: value for name, value in own.items() if not name.startswith((CLASSIFIER, *OF_TASK))}
