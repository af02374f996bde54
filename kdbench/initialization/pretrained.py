"""The weights of a pre-trained model of the student's own shape."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.head import ClassHead, WordHead
from kdbench.initialization.base import Initialization
from kdbench.model import Model, own_weights, take_over
from kdbench.pretrained import Source, fingerprint, locate
from kdbench.store import Store
from kdbench.student.compressed import of_kept_words

VERSION = 1
CLASSIFIER = "model.classifier."


class Pretrained(Initialization):
    """Takes embeddings and layers from a Hugging Face folder or hub name.

    A vocabulary head comes too where both sides have one; a classifier keeps its fresh weights.

    Args:
        source: `folder`, `hub` or `embedded`.
        model: the folder's path, or the hub's name.
        revision: of the hub's repository.
    """

    def __init__(self, model: str, source: Source = "folder", revision: str = "main") -> None:
        self.model, self.source, self.revision = model, source, revision

    def content(self) -> dict[str, object]:
        return {"weights": fingerprint(locate(self.source, self.model, self.revision, "initialization.model"))}

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        from kdbench.encoder.base import Encoder
        from kdbench.encoder.load import from_folder

        folder = locate(self.source, self.model, self.revision, "initialization.model")
        head = WordHead() if student.shape.decoder_width else ClassHead(("fresh", "head"))
        donor, bare = from_folder(folder, head, fresh=True), student.bare
        if not isinstance(bare, Encoder):
            raise ImpossibleError(
                "initialization=pretrained loads a Hugging Face encoder, which this student is not: choose "
                "initialization=random"
            )
        try:
            theirs = {name: value for name, value in own_weights(donor).items() if not name.startswith(CLASSIFIER)}
            take_over(bare, of_kept_words(student, theirs))
        except RuntimeError as error:
            raise ImpossibleError(
                f"initialization.model={self.model} has the shape {donor.shape}, the student {student.shape}: choose "
                "the student/size of that model, and its tokenizer as the teacher's"
            ) from error
