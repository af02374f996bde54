"""Masked words: what a masked language model learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kdbench import counter
from kdbench.augmentation.base import Augmentation
from kdbench.data.batch import NO_PLACE
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.value import number, share, switch, whole

VERSION = 1
HELD_OUT = 10**9
"""The version of rows that are evaluated: none that is trained on."""
CONTINUES = ("##",)
BEGINS = ("Ġ", "▁")
"""How tokenizers mark that a token continues a word, or begins one."""


class MaskWords(Augmentation):
    """Some tokens are places whose word is to be told (Devlin et al. 2019, section 3.1): of those 80 % show the mask
    token, 10 % a random word and 10 % what stood there.

    What becomes of a token depends on the seed, the version, its row's place in the source and its place in the row,
    not on the order in which anything is asked for, and on the other rows only where `rarity` counts words in them.
    Each token is drawn by itself, so that the rate holds on average; with `exact` a row has as many places as any other
    of its length, where the release of Galke et al. 2022 counts those of a batch, which is no function of its rows.

    Args:
        rate: of the tokens that are no special ones.
        exact: a row of n tokens, special ones counted, has ceil(rate n) places, or all of its ordinary tokens: drawn
            one after the other, none twice.
        masked, random: shares of the places that show the mask token, or a random word.
        whole_words: the pieces of a word are places together, or none of them is.
        rarity: a word's chance grows as its count in the rows to the power of -rarity, at the same rate on the whole:
            0 for equal chances, 0.7 as in the code of DistilBERT (after Lample and Conneau 2019).
        variants: versions of the rows; epochs beyond see the first ones again.
        seed: of the draws.
    """

    def __init__(
        self,
        rate: float = 0.15,
        masked: float = 0.8,
        random: float = 0.1,
        whole_words: bool = False,
        rarity: float = 0.0,
        exact: bool = False,
        variants: int = 1000,
        seed: int = 0,
    ) -> None:
        for name, value in (("rate", rate), ("masked", masked), ("random", random)):
            share(f"corpus.masking.{name}", value)
        if rate == 0 or masked + random > 1:
            raise KdbenchError(
                f"corpus.masking.rate={rate} must be more than 0, and masked={masked} and random={random} "
                "at most 1 together"
            )
        switch("corpus.masking.whole_words", whole_words)
        switch("corpus.masking.exact", exact)
        if exact and whole_words:
            raise KdbenchError(
                "corpus.masking.exact=true counts tokens, of which whole words have one or many: set it or "
                "corpus.masking.whole_words to false"
            )
        number("corpus.masking.rarity", rarity)
        whole("corpus.masking.variants", variants)
        whole("corpus.masking.seed", seed, least=0)
        self.rate, self.masked, self.random, self.whole_words = rate, masked, random, whole_words
        self.rarity, self.exact, self.variants, self.seed = rarity, exact, variants, seed

    def held_out(self, split: Split, tokenizer: Any) -> Split:
        """Rows that are evaluated: always the same places."""
        return self.variant(split, HELD_OUT, tokenizer)

    def variant(self, split: Split, number: int, tokenizer: Any) -> Split:
        if tokenizer.mask_token_id is None:
            raise KdbenchError(
                "a corpus needs a mask token, which the teacher's tokenizer does not have: choose a teacher that is a "
                "masked language model"
            )
        rows = np.repeat(split.sequence_index, split.lengths)
        places = np.arange(len(split.tokens)) - np.repeat(split.offsets[:-1], split.lengths)
        tokens = np.asarray(split.tokens)
        ordinary = ~np.isin(tokens, tokenizer.all_special_ids)
        first = (
            _first_pieces(tokens, split.offsets, _continues(tokenizer)) if self.whole_words else np.arange(len(rows))
        )
        version = np.full_like(rows, number)

        def drawn(purpose: int, where: np.ndarray) -> np.ndarray:
            return counter.uniform(self.seed, version, rows, where, np.full_like(rows, purpose))

        weights = self._weights(tokens, first)
        if self.exact:
            asked = _so_many(drawn(0, places), np.where(ordinary, weights, 0.0), split, self.rate)
        else:
            asked = ordinary & (drawn(0, places[first]) < _chances(weights, ordinary, self.rate))
        shown = drawn(1, places)
        words = ordinary_words(tokenizer)
        other = words[(drawn(2, places) * len(words)).astype(np.int64)]
        changed = np.where(
            asked & (shown < self.masked),
            np.int32(tokenizer.mask_token_id),
            np.where(asked & (shown < self.masked + self.random), other, tokens),
        )
        return replace(split, tokens=changed.astype(np.int32), words=np.where(asked, tokens, NO_PLACE).astype(np.int32))

    def _weights(self, tokens: np.ndarray, first: np.ndarray) -> np.ndarray:
        """What each token's chance is in proportion to, by its word's first piece."""
        if not self.rarity:
            return np.ones(len(tokens))
        return (np.maximum(np.bincount(tokens), 1).astype(np.float64) ** -self.rarity)[tokens[first]]


def _chances(weights: np.ndarray, ordinary: np.ndarray, rate: float) -> np.ndarray:
    """Each token's chance; `rate` on the average of the ordinary ones. What would have more than 1 has 1, and the
    others share what is left over."""
    chances = rate * weights / weights[ordinary].mean() if ordinary.any() else np.zeros(len(weights))
    certain = np.zeros(len(weights), dtype=bool)
    while (beyond := ordinary & (chances > 1.0)).any():
        certain |= beyond
        others = ordinary & ~certain
        left = rate * ordinary.sum() - certain.sum()
        chances = np.where(certain, 1.0, left * weights / weights[others].sum() if others.any() else 0.0)
    return chances


def _so_many(drawn: np.ndarray, weights: np.ndarray, split: Split, rate: float) -> np.ndarray:
    """(tokens,) bool: ceil(rate n) of each row's n tokens, one drawn after the other with chances in proportion to the
    weights. Those for which -log(u) / weight is smallest have that law (Efraimidis and Spirakis 2006)."""
    with np.errstate(divide="ignore"):
        waiting = np.where(weights > 0, -np.log(np.maximum(drawn, 2.0**-54)) / weights, np.inf)
    rows = np.repeat(np.arange(len(split.lengths)), split.lengths)
    order = np.lexsort((waiting, rows))
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - np.repeat(split.offsets[:-1], split.lengths)
    return np.isfinite(waiting) & (place < np.ceil(rate * split.lengths)[rows])


def _first_pieces(tokens: np.ndarray, offsets: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """Where the word of each token begins, (tokens,)."""
    begins = ~continues[tokens]
    begins[offsets[:-1][np.diff(offsets) > 0]] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(tokens)), 0))


def _continues(tokenizer: Any) -> np.ndarray:
    """Which tokens of the vocabulary continue a word, (V,).

    Raises:
        KdbenchError: a tokenizer whose tokens do not tell.
    """
    words = _words(tokenizer)
    if any(word.startswith(CONTINUES) for word in words):
        return np.array([word.startswith(CONTINUES) for word in words])
    if any(word.startswith(BEGINS) for word in words):
        special = set(tokenizer.all_special_ids)
        return np.array([place not in special and not word.startswith(BEGINS) for place, word in enumerate(words)])
    raise KdbenchError(
        "corpus.masking.whole_words=true needs a tokenizer whose tokens tell where words begin (## or such): "
        "set it to false"
    )


def ordinary_words(tokenizer: Any) -> np.ndarray:
    """The ids of the vocabulary without special tokens and those that BERT's vocabulary keeps free, `[unused1]`."""
    left_out = {place for place, word in enumerate(_words(tokenizer)) if word.startswith("[unused")}
    return np.setdiff1d(np.arange(len(tokenizer)), [*left_out, *tokenizer.all_special_ids])


def _words(tokenizer: Any) -> list[str]:
    """The tokens by id."""
    return [str(word) for word in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
