"""The generated task: short sentences whose class shows in their words. It needs no file, no network, no package."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from kdbench.data.source import Fingerprint, Source, Table
from kdbench.error import KdbenchError

VERSION = 1

# Whole words of BERT's English vocabulary; a class has its own topic, and the rest is the same for all.
TOPICS = (
    ("river", "mountain", "forest", "ocean", "valley", "island", "desert", "garden"),
    ("engine", "machine", "computer", "bridge", "factory", "railway", "radio", "camera"),
    ("doctor", "teacher", "lawyer", "soldier", "farmer", "writer", "singer", "painter"),
    ("bread", "cheese", "coffee", "sugar", "butter", "apple", "salt", "wine"),
)
PLAIN = tuple(["the", "a", "old", "new", "was", "near", "and", "with", "seen", "we", "found", "from", "there", "small"])


class Generated(Source):
    """`rows` training sentences, a quarter as many (at least 32) each for validation and test, over 2 to 4 classes.

    Columns: text; second (another sentence of the same class in every other row, for pairs); label (the class of
    text); same (1 where both have one class); value (the share of the first topic's words, for a regression). Each
    sentence has two to four words of its own topic and one of another, so that no single word decides.
    """

    def __init__(self, rows: int = 256, classes: int = 2, seed: int = 1) -> None:
        if not 2 <= classes <= len(TOPICS):
            raise KdbenchError(f"data.generated.classes={classes} must be 2 to {len(TOPICS)}")
        if rows < 1:
            raise KdbenchError(f"data.generated.rows={rows} must be at least 1")
        self.rows = rows
        self.classes = classes
        self.seed = seed

    def identity(self, split: str, root: Path, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """The settings are everything."""
        settings = {"rows": self.rows, "classes": self.classes, "seed": self.seed, "version": VERSION}
        return {**settings, "split": split} if split in self._sizes() else None

    def read(self, split: str, root: Path) -> Table | None:
        """Draw the sentences of a split; `random.Random.random` is the same on every platform and version."""
        if split not in self._sizes():
            return None
        import pandas as pd

        random = Random(f"{self.seed} {split}")
        rows = [self._row(random, place) for place in range(self._sizes()[split])]
        return Table(pd.DataFrame(rows))

    def lacks(self, split: str, root: Path, key: str = "data") -> str:
        """Name the three splits."""
        return f"the generated data have no split {split}, they have {', '.join(self._sizes())}: correct {key}.splits"

    def _sizes(self) -> dict[str, int]:
        held_out = max(32, self.rows // 4)
        return {"train": self.rows, "validation": held_out, "test": held_out}

    def _row(self, random: Random, place: int) -> dict[str, object]:
        label = place % self.classes  # as many rows of each class, as can be
        other = label if random.random() < 0.5 else (label + 1 + _below(random, self.classes - 1)) % self.classes
        text, second = self._sentence(random, label), self._sentence(random, other)
        topical = [word in TOPICS[0] for word in text.split() if word not in PLAIN]
        share = sum(topical) / len(topical)
        return {"text": text, "second": second, "label": label, "same": int(label == other), "value": share}

    def _sentence(self, random: Random, label: int) -> str:
        stray = (label + 1 + _below(random, self.classes - 1)) % self.classes
        topics = [TOPICS[label]] * (2 + _below(random, 3)) + [TOPICS[stray]]
        words = [topic[_below(random, len(topic))] for topic in topics]
        words += [PLAIN[_below(random, len(PLAIN))] for _ in range(2 + _below(random, 7))]
        return " ".join(sorted(words, key=lambda _: random.random()))


def _below(random: Random, end: int) -> int:
    return int(random.random() * end)
