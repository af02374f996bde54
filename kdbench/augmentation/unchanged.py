"""No augmentation."""

from __future__ import annotations

from typing import Any

from kdbench.augmentation.base import Augmentation
from kdbench.data.split import Split

VERSION = 1


class Unchanged(Augmentation):
    """The training rows as they are."""

    changes = False

    def variant(self, split: Split, number: int, tokenizer: Any) -> Split:
        return split
