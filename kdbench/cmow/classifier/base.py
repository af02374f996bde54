"""What stands between an encoding and its scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from kdbench.error import ImpossibleError


class FeatureClassifier(nn.Module, ABC):
    """From what is encoded of a row to its scores.

    A subclass is built with

        width: of one encoded text: D of its pooled encoding, or of a token's state where `of_tokens`.
        paired: from such a width to that of the features, where a row has two texts that are read apart.
        block: the width of each part of an encoding where all have one, d^2 and e; None where they differ.
        outputs: C.

    and with options of its own.
    """

    of_tokens: ClassVar[bool] = False
    """It reads the states of all tokens of a text (`read`) in the place of the pooled encoding."""

    @classmethod
    def check(cls, paired: Callable[[int], int], width: int, block: int | None) -> None:
        """Refuse what it cannot read; the arguments are those of the constructor.

        Raises:
            ImpossibleError: one sentence with the way out.
        """
        return None

    def read(self, states: Tensor, mask: Tensor) -> Tensor:
        """One text from the states of its tokens: (B, S, D) and (B, S) -> (B, D')."""
        raise NotImplementedError

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(B, `paired(D)`) -> (B, C)."""


def refuse_norm_of_one(features: int) -> None:
    """Refuse to norm a single number, of which nothing is left."""
    if features == 1:
        raise ImpossibleError(
            "this student/classifier norms its features, which have a width of 1, and of a single number a norm leaves "
            "nothing: choose student/classifier=linear, or a student.pair other than cosine and wider tables"
        )
