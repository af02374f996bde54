"""The student of an earlier run."""

from __future__ import annotations

from pathlib import Path

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.initialization.base import Initialization
from kdbench.model import Model, load_weights
from kdbench.store import Store, read_json

VERSION = 1


class Checkpoint(Initialization):
    """Takes all weights from a finished stage of the store, so that stages and studies can build on each other. Of a
    student with another head, as one that was trained on a corpus, it takes the body.

    Args:
        signature: of the stage (`kdbench-store list --kind stage`), or of a run, which means its last stage.
    """

    def __init__(self, signature: str) -> None:
        self.signature = signature

    def content(self) -> dict[str, object]:
        return {"checkpoint": self.signature}

    def check_store(self, store: Store) -> None:
        self._stage(store)

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        try:
            load_weights(student, self._stage(store))
        except RuntimeError as error:
            raise ImpossibleError(
                f"initialization.signature={self.signature} is a student of another shape: choose the same student and "
                "student/size as that run"
            ) from error

    def _stage(self, store: Store) -> Path:
        """The folder of the stage, by its signature or by that of a run."""
        signature = self.signature
        if store.has("run", signature):
            signature = read_json(store.path("run", signature) / "record.json")["stages"][-1]
        if not store.has("stage", signature):
            raise KdbenchError(
                f"initialization.signature={self.signature} names no finished stage or run of the store {store.root}: "
                "`kdbench-store list` shows what is there"
            )
        return store.path("stage", signature)
