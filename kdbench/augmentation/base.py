"""Versions of the training rows, of which every epoch sees the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kdbench.data.split import Split


class Augmentation(ABC):
    """A fixed number of versions of the training rows, each a function of its number alone.

    No generator runs along: whoever asks for a version, whenever, gets the same, so that a resumed run goes on exactly
    and a teacher's outputs for each version can be kept and shared.
    """

    variants: int = 1
    """How many versions there are; epoch e sees number e modulo this."""

    changes: bool = True
    """Whether any version differs from the rows as they are."""

    @abstractmethod
    def variant(self, split: Split, number: int, tokenizer: Any) -> Split:
        """The rows' version of that number, from 0: the same rows with other tokens.

        Args:
            split: the rows as they are.
            number: from 0 to `variants` - 1.
            tokenizer: of Hugging Face, for the ids of its special tokens.

        Raises:
            KdbenchError: a tokenizer that lacks what is needed.
        """


def variant_of(augmentation: Augmentation, rows: Split, tokenizer: Any) -> Callable[[int], Split] | None:
    """The rows by epoch, where they differ; None where every epoch sees them as they are."""
    if not augmentation.changes:
        return None

    @lru_cache(maxsize=1)
    def variant(epoch: int) -> Split:
        return augmentation.variant(rows, epoch % augmentation.variants, tokenizer)

    return variant
