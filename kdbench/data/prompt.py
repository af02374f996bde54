"""Prompts: rows as texts in which a masked language model says the answer (Schick and Schuetze 2021)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdbench.data.batch import NO_PLACE, UNKNOWN_WORD
from kdbench.error import KdbenchError

MASK, CHOICE = "mask", "choice"
FIELD = re.compile(r"{(\w+)}")
Piece = tuple[list[int], list[int]]
"""Tokens, and of each of them the word that is to be told there."""


@dataclass(frozen=True)
class Prompt:
    """A text with columns in braces: `{hypothesis}? {mask}, {premise}`.

    `{mask}` is the one place of an answer that is a word. `{choice}` stands for a choice's own words, each of them a
    place. Of rows that are too long the longest column loses its end.
    """

    text: str

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [name for name in FIELD.findall(self.text) if name not in (MASK, CHOICE)]

    def check(self, key: str, chooses: bool) -> None:
        """Refuse a text without the one place that it needs."""
        wanted, other = (CHOICE, MASK) if chooses else (MASK, CHOICE)
        names = FIELD.findall(self.text)
        if names.count(wanted) != 1 or other in names or not self.columns:
            raise KdbenchError(
                f"{key}='{self.text}' must have a column in braces and {{{wanted}}} once"
                f"{', and no {' + '{' + other + '}' if other in names else ''}"
            )

    def sequences(
        self, tokenizer: Any, texts: Mapping[str, Sequence[str]], answers: Sequence[str | None] | None, max_length: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokens and places of each row.

        Args:
            tokenizer: with a mask token.
            texts: of each column, N of them.
            answers: the choice of each row, None for one that is absent; None for a prompt with `{mask}`.
            max_length: tokens of a row.

        Raises:
            KdbenchError: a tokenizer without a mask token, or a prompt whose own words are too many.
        """
        if tokenizer.mask_token_id is None:
            raise KdbenchError(
                "data.format=cloze needs a mask token, which the teacher's tokenizer does not have: set "
                "data.format=head"
            )
        parts = re.split(FIELD, self.text)  # literals at even places, names at odd ones
        read = {name: _encoded(tokenizer, texts[name]) for name in set(self.columns)}
        literals = [_encoded(tokenizer, [part])[0] for part in parts[::2]]
        chosen = None if answers is None else _encoded(tokenizer, [answer or "" for answer in answers])
        columns = [place for place, part in enumerate(parts) if place % 2 and part not in (MASK, CHOICE)]

        def pieces(row: int) -> Iterator[Piece]:
            for place, part in enumerate(parts):
                if place % 2 == 0:
                    yield _shown(literals[place // 2])
                elif part == MASK:
                    yield [tokenizer.mask_token_id], [UNKNOWN_WORD]
                elif part == CHOICE:
                    assert chosen is not None
                    yield [tokenizer.mask_token_id] * len(chosen[row]), chosen[row]
                else:
                    yield _shown(read[part][row])

        absent = np.array([tokenizer.cls_token_id]), np.array([NO_PLACE])
        return [
            absent
            if answers is not None and answers[row] is None
            else _joined(_shortened(list(pieces(row)), columns, max_length - 2), tokenizer)
            for row in range(max(len(values) for values in texts.values()))
        ]


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _shown(tokens: list[int]) -> Piece:
    return list(tokens), [NO_PLACE] * len(tokens)


def _shortened(pieces: list[Piece], columns: Sequence[int], length: int) -> list[Piece]:
    """Tokens taken off the end of whichever column is longest until all fit; what is no column stays whole."""
    while sum(len(tokens) for tokens, _ in pieces) > length:
        longest = max(columns, key=lambda place: len(pieces[place][0]))
        tokens, words = pieces[longest]
        if not tokens:
            raise KdbenchError(f"data.max_length={length + 2} leaves no room for the words of the prompt: raise it")
        tokens.pop()
        words.pop()
    return pieces


def _joined(pieces: list[Piece], tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """One row of the pieces, between the first and the last special token."""
    tokens = [tokenizer.cls_token_id, *(token for piece in pieces for token in piece[0]), tokenizer.sep_token_id]
    words = [NO_PLACE, *(word for piece in pieces for word in piece[1]), NO_PLACE]
    return np.array(tokens), np.array(words)
