"""The weights of a pre-trained model of the student's own shape."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.initialization.base import Initialization
from kdbench.model import Model
from kdbench.pretrained import Source, fingerprint, locate
from kdbench.store import Store

VERSION = 1


class Pretrained(Initialization):
    """Takes embeddings and layers from a Hugging Face folder or hub name; the classifier keeps its fresh weights.

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
        from kdbench import encoder
        from kdbench.encoder import Encoder

        folder = locate(self.source, self.model, self.revision, "initialization.model")
        donor = encoder.from_folder(folder, head=("fresh", "head"))
        if not isinstance(student, Encoder):
            raise ImpossibleError(
                "initialization=pretrained loads a Hugging Face encoder, which this student is not: choose "
                "initialization=random"
            )
        try:
            student.model.base_model.load_state_dict(donor.model.base_model.state_dict())
        except RuntimeError as error:
            raise ImpossibleError(
                f"initialization.model={self.model} has the shape {donor.shape}, the student {student.shape}: choose "
                "the student/size of that model, and its tokenizer as the teacher's"
            ) from error
