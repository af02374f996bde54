"""Where the student's weights begin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.store import Store


class Initialization(ABC):
    """Changes a freshly built student in place; the teacher is left as it is."""

    needs_teacher: ClassVar[bool] = False

    @abstractmethod
    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        """Set the student's weights. `teacher` is given where `needs_teacher` says so."""

    def check(self, student: Shape, teacher: Shape) -> None:
        """Refuse shapes that this beginning does not fit.

        Raises:
            ImpossibleError: one sentence with the way out.
        """
        return None

    def check_store(self, store: Store) -> None:
        """Refuse a beginning that the store should hold and does not.

        Raises:
            KdbenchError: one sentence with the way out.
        """
        return None

    def content(self) -> dict[str, object]:
        """What else determines the weights: fingerprints of files and signatures, for the stage's signature."""
        return {}
