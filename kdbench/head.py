"""What stands above the layers of a model: that is what its data asks of it."""

from __future__ import annotations

from dataclasses import dataclass

ABSENT = -1e4
"""The score of an answer that a row does not have, where others of its task have more, and of padding as one."""


@dataclass(frozen=True)
class ClassHead:
    """A score for each class, or one value.

    Attributes:
        labels: the names of the classes; none for a regression.
        texts: of a row, 2 of a pair.
    """

    labels: tuple[str, ...]
    texts: int = 1


@dataclass(frozen=True)
class ChoiceHead:
    """A score for each of a row's sequences, of which one is right.

    Attributes:
        choices: the sequences of a row.
        texts: of such a sequence.
    """

    choices: int
    texts: int = 1


@dataclass(frozen=True)
class WordHead:
    """A score for each word of the vocabulary.

    Attributes:
        answers: the words, by id, whose scores are the logits of a task.
        choices: the sequences of a row, whose logits are the scores of all the words at their places; None for a task
            of answers, or for none but the words themselves.
        length_penalty: such a score is divided by the number of its words to the power of this.
    """

    answers: tuple[int, ...] | None = None
    choices: int | None = None
    length_penalty: float = 0.0

    @property
    def classes(self) -> int:
        """The number of logits; 0 without a task."""
        return self.choices or len(self.answers or ())


@dataclass(frozen=True)
class SpanHead:
    """Two scores for each token: as the first, and as the last one of an answer."""


Head = ClassHead | ChoiceHead | WordHead | SpanHead
