"""Masked words: how many, which, what they show, and that nothing but counters decides."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kdbench.augmentation.mask_words import MaskWords, ordinary_words
from kdbench.data.batch import NO_PLACE
from kdbench.data.split import Split
from kdbench.error import KdbenchError

CLS, SEP, MASK = 1, 2, 3
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", *(f"w{place}" for place in range(60)),
         *(f"##p{place}" for place in range(40))]  # fmt: skip
FIRST, PIECES = 5, 65


class Tokenizer(SimpleNamespace):
    mask_token_id, all_special_ids = MASK, (0, CLS, SEP, MASK)

    def __len__(self) -> int:
        return len(WORDS)

    def convert_ids_to_tokens(self, places: list[int]) -> list[str]:
        return [WORDS[place] for place in places]


@pytest.fixture
def rows() -> Split:
    """2,000 rows of 5 to 20 tokens between [CLS] and [SEP], rare words among frequent ones."""
    random = np.random.default_rng(0)
    chances = 1.0 / np.arange(1, len(WORDS) - FIRST + 1)
    parts = []
    for _ in range(2000):
        words = random.choice(np.arange(FIRST, len(WORDS)), size=random.integers(5, 21), p=chances / chances.sum())
        parts.append(np.array([CLS, *words, SEP]))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    tokens = np.concatenate(parts).astype(np.int32)
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.zeros(2000, np.int64), random.permutation(2000))


def places_of(split: Split) -> np.ndarray:
    assert split.words is not None
    return np.asarray(split.words != NO_PLACE)


def test_a_share_of_the_ordinary_tokens_are_places_of_their_own_words(rows: Split) -> None:
    found = MaskWords(rate=0.15).variant(rows, 0, Tokenizer())
    places, ordinary = places_of(found), rows.tokens >= FIRST
    assert abs(places[ordinary].mean() - 0.15) < 0.01 and not places[~ordinary].any()
    assert found.words is not None and np.array_equal(found.words[places], rows.tokens[places])
    assert np.array_equal(found.tokens[~places], rows.tokens[~places])


def test_four_fifths_are_hidden_a_tenth_shows_another_word_and_a_tenth_itself(rows: Split) -> None:
    found = MaskWords(rate=0.5).variant(rows, 0, Tokenizer())
    places = places_of(found)
    shown, were = found.tokens[places], rows.tokens[places]
    other = (shown != MASK) & (shown != were)
    assert abs((shown == MASK).mean() - 0.8) < 0.01 and abs((shown == were).mean() - 0.1) < 0.015
    assert abs(other.mean() - 0.1) < 0.015
    assert np.isin(shown[other], ordinary_words(Tokenizer())).all(), "no special and no unused word is shown"


def test_versions_differ_and_the_held_out_one_is_like_none_of_them(rows: Split) -> None:
    masking, ordinary = MaskWords(), rows.tokens >= FIRST
    versions = [
        *(masking.variant(rows, number, Tokenizer()) for number in range(3)),
        masking.held_out(rows, Tokenizer()),
    ]
    made = [places_of(version)[ordinary] for version in versions]
    for left, right in ((0, 1), (1, 2), (0, 3), (2, 3)):
        assert abs((made[left] & made[right]).mean() - made[left].mean() * made[right].mean()) < 0.003


def test_what_becomes_of_a_row_does_not_depend_on_the_others(rows: Split) -> None:
    some = np.array([7, 3, 1999, 42])
    whole, part = (MaskWords().variant(split, 4, Tokenizer()) for split in (rows, rows.take(some)))
    assert whole.words is not None and part.words is not None
    expected = whole.take(some)
    assert np.array_equal(part.tokens, expected.tokens) and np.array_equal(part.words, expected.words)


def test_pieces_of_a_word_are_places_together(rows: Split) -> None:
    found = MaskWords(rate=0.3, whole_words=True).variant(rows, 0, Tokenizer())
    places, ordinary = places_of(found), rows.tokens >= FIRST
    assert abs(places[ordinary].mean() - 0.3) < 0.02
    inside = np.flatnonzero((rows.tokens[1:] >= PIECES) & (rows.tokens[:-1] >= FIRST)) + 1
    assert len(inside) > 1000 and np.array_equal(places[inside], places[inside - 1])
    apart = np.flatnonzero((rows.tokens[1:] < PIECES) & ordinary[1:] & ordinary[:-1]) + 1
    assert abs((places[apart] & places[apart - 1]).mean() - places[apart].mean() * places[apart - 1].mean()) < 0.01


def test_rare_words_are_asked_for_more_often_at_the_same_rate(rows: Split) -> None:
    """With a chance in proportion to their count to the power of -0.7, and special tokens with none."""
    found = MaskWords(rate=0.15, rarity=0.7).variant(rows, 0, Tokenizer())
    places, ordinary = places_of(found), rows.tokens >= FIRST
    assert abs(places[ordinary].mean() - 0.15) < 0.01 and not places[~ordinary].any()
    counts = np.bincount(rows.tokens[ordinary], minlength=len(WORDS))
    chances = np.where(counts > 0, np.maximum(counts, 1) ** -0.7, 0.0)[rows.tokens]
    chances = 0.15 * chances / chances[ordinary].mean()
    commonest = np.argsort(-counts)
    for part in (slice(1), slice(1, 5), slice(5, 20), slice(20, 50), slice(50, None)):
        here = np.isin(rows.tokens, commonest[part]) & ordinary
        error = np.sqrt((chances[here] * (1 - chances[here])).sum()) / here.sum()
        assert chances[here].max() < 1 and abs(places[here].mean() - chances[here].mean()) < 4 * error


def test_words_that_would_be_asked_for_more_than_always_leave_the_rate_as_it_is(rows: Split) -> None:
    """Some words occur once: they are places in every version, and the others share what is left."""
    tokens = np.where(rows.tokens >= FIRST + 20, np.arange(len(rows.tokens)) + len(WORDS), rows.tokens)  # each its own
    found = MaskWords(rate=0.6, rarity=0.7).variant(replace(rows, tokens=tokens.astype(np.int32)), 0, Tokenizer())
    places, ordinary = places_of(found), tokens >= FIRST
    rare = tokens >= len(WORDS)
    assert places[rare].all() and 0.2 < rare[ordinary].mean() < 0.55
    assert abs(places[ordinary].mean() - 0.6) < 0.01


@pytest.mark.parametrize("rarity", [0.0, 0.7])
def test_of_every_row_exactly_so_many_tokens_are_places(rows: Split, rarity: float) -> None:
    """ceil(0.15 n), with [CLS] and [SEP] among the n and never a place (spec of the release, of a batch there)."""
    masking = MaskWords(rate=0.15, rarity=rarity, exact=True)
    found = masking.variant(rows, 0, Tokenizer())
    places, row = places_of(found), np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    assert np.array_equal(np.bincount(row, places), np.ceil(0.15 * rows.lengths))
    assert not places[rows.tokens < FIRST].any()
    again = masking.variant(rows.take(np.array([5, 2, 1000])), 0, Tokenizer())
    if not rarity:  # which counts words in the other rows
        assert again.words is not None and found.words is not None
        assert np.array_equal(again.words, found.take(np.array([5, 2, 1000])).words)


def test_a_row_has_no_more_places_than_words(rows: Split) -> None:
    found = MaskWords(rate=1.0, exact=True).variant(rows, 0, Tokenizer())
    assert np.array_equal(places_of(found), rows.tokens >= FIRST)


def test_exactly_so_many_are_drawn_one_after_the_other() -> None:
    """Two of three words, with chances in proportion to 1, 2^-1 and 4^-1, the second without the first: of all pairs as
    often as by the sum over both orders."""
    number = 40_000
    row = np.array([CLS, 5, 6, 7, SEP])
    more = np.array([CLS, 6, 7, 7, 7, SEP] * number)  # words 5, 6 and 7 stand in a proportion of 1 : 2 : 4
    tokens = np.concatenate([np.tile(row, number), more]).astype(np.int32)
    lengths = np.array([5] * number + [6] * number)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    types, labels = np.zeros(len(tokens), np.int8), np.zeros(2 * number, np.int64)
    split = Split(tokens, types, offsets, labels, np.arange(2 * number))
    found = places_of(MaskWords(rate=0.4, rarity=1.0, exact=True).variant(split, 0, Tokenizer()))
    drawn = found[: 5 * number].reshape(number, 5)[:, 1:4]
    assert (drawn.sum(axis=1) == 2).all()
    weights = np.array([1.0, 0.5, 0.25])
    first = weights / weights.sum()
    for left_out in range(3):
        one, two = (place for place in range(3) if place != left_out)
        expected = first[one] * weights[two] / (weights.sum() - weights[one])
        expected += first[two] * weights[one] / (weights.sum() - weights[two])
        share = (~drawn[:, left_out]).mean()
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "must be more than 0"),
        ({"rate": 1.5}, "corpus.masking.rate=1.5"),
        ({"masked": 0.9, "random": 0.2}, "at most 1 together"),
        ({"variants": 0}, "masking.variants=0"),
        ({"whole_words": "yes"}, "masking.whole_words=yes"),
        ({"exact": 1}, "masking.exact=1"),
        ({"exact": True, "whole_words": True}, "set it or corpus.masking.whole_words to false"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(KdbenchError, match=message):
        MaskWords(**options)  # type: ignore[arg-type]


def test_a_tokenizer_without_a_mask_token_is_refused(rows: Split) -> None:
    tokenizer = Tokenizer()
    tokenizer.mask_token_id = None
    with pytest.raises(KdbenchError, match="a corpus needs a mask token"):
        MaskWords().variant(rows, 0, tokenizer)
