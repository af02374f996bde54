"""Fresh weights."""

from __future__ import annotations

from kdbench.initialization.base import Initialization
from kdbench.model import Model
from kdbench.store import Store

VERSION = 1


class Random(Initialization):
    """The weights the architecture draws when it is built, from the run's seed."""

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        """Nothing to do: the student was built under the run's seed."""
