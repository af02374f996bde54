"""The Kronecker products that are nearest to a dense beginning."""

from __future__ import annotations

from dataclasses import replace

import torch

from kdbench.error import ImpossibleError
from kdbench.initialization.base import Initialization
from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.store import Store

VERSION = 1


class NearestKronecker(Initialization):
    """Begins a dense student of the same architecture, and takes the products nearest to its maps.

    Van Loan and Pitsianis 1993; Tahaei et al. 2022, section 3.2, for products of one term. What is not factored is
    taken as it is.

    Args:
        dense: how the dense student begins.
    """

    def __init__(self, dense: Initialization) -> None:
        self.dense = dense

    @property
    def needs_teacher(self) -> bool:  # type: ignore[override]
        return self.dense.needs_teacher

    def content(self) -> dict[str, object]:
        return {"nearest_to": self.dense.content()}

    def check_store(self, store: Store) -> None:
        self.dense.check_store(store)

    def check(self, student: Shape, teacher: Shape) -> None:
        if not student.factored:
            raise ImpossibleError(
                "initialization=nearest_kronecker is for a factored student: choose student=kronecker, or "
                "initialization=teacher_uniform"
            )
        self.dense.check(replace(student, factored=False), teacher)

    def initialize(self, student: Model, teacher: Model | None, store: Store) -> None:
        from kdbench.kronecker.dense import approximate
        from kdbench.student.kronecker import dense_twin

        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
            twin = dense_twin(student)
        self.dense.initialize(twin, teacher, store)
        approximate(student.bare, twin.bare.state_dict())
