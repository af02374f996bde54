"""Answers that are a span of a text (SQuAD, Rajpurkar et al. 2016, 2018): windows, targets, from scores to words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.data.choices import word_overlap, words_in
from kdbench.data.split import Split
from kdbench.error import KdbenchError

if TYPE_CHECKING:
    from kdbench.data.questions import Questions

CHUNK = 2_000
"""Questions a call of the tokenizer, whose tables of characters are large."""
NO_ANSWER = 0
"""The place that says that a window has no answer: its first token."""
OUTSIDE = -1
"""The character of a token that is not of the text, or of an answer that is none."""
UNKNOWN = -1
"""The place of an answer that nobody says."""


def windows(tokenizer: Any, questions: Sequence[str], texts: Sequence[str], max_length: int, stride: int) -> Split:
    """Question and text as one sequence; of a longer text several, which share `stride` tokens with the one before.

    Returns:
        A row for each window, whose group is the place of its question; none has a label yet.

    Raises:
        KdbenchError: a tokenizer that does not tell characters, or a length that leaves no room beside a question.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise KdbenchError(
            "spans need a fast tokenizer, which tells the characters of its tokens: choose another teacher"
        )
    asked = [question.strip() for question in questions]
    around = tokenizer.num_special_tokens_to_add(pair=True)
    longest = max(len(ids) for ids in tokenizer(asked, add_special_tokens=False, verbose=False)["input_ids"])
    if max_length - longest - around <= stride:
        raise KdbenchError(
            f"data.max_length={max_length} leaves no room beside a question of {longest} tokens and "
            f"data.stride={stride}: raise the one or lower the other"
        )
    parts = [
        _windows(tokenizer, asked[at : at + CHUNK], texts[at : at + CHUNK], max_length, stride, at)
        for at in range(0, len(asked), CHUNK)
    ]
    tokens, types, lengths, question, characters = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Split(
        tokens=tokens.astype(np.int32),
        types=types.astype(np.int8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=np.full((len(question), 2), UNKNOWN, dtype=np.int64),
        index=np.arange(len(question), dtype=np.int64),
        groups=question.astype(np.int64),
        characters=characters.astype(np.int32),
    )


def _windows(
    tokenizer: Any, questions: Sequence[str], texts: Sequence[str], max_length: int, stride: int, first: int
) -> tuple[np.ndarray, ...]:
    """Of some questions: tokens and types of their windows, lengths, question numbers from `first` on, characters."""
    encoded = tokenizer(
        list(questions),
        list(texts),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    characters = []
    for number, spans in enumerate(encoded["offset_mapping"]):
        of_text = np.array([part == 1 for part in encoded.sequence_ids(number)])
        characters.append(np.where(of_text[:, None], np.array(spans), OUTSIDE))
    return (
        np.concatenate([np.array(ids) for ids in encoded["input_ids"]]),
        np.concatenate([np.array(ids) for ids in encoded["token_type_ids"]]),
        np.array([len(ids) for ids in encoded["input_ids"]]),
        np.array(encoded["overflow_to_sample_mapping"]) + first,
        np.concatenate(characters),
    )


def targets(found: Split, questions: Questions) -> np.ndarray:
    """First and last token of each window's answer, (N, 2): twice `NO_ANSWER` where the window does not hold all of it,
    twice `UNKNOWN` where nobody says what it is. Of several right answers the first is the one to learn."""
    places = np.full((len(found), 2), NO_ANSWER, dtype=np.int64)
    assert found.groups is not None
    for window, question in enumerate(found.groups):
        right = questions.answers[question]
        if right is None:
            places[window] = UNKNOWN
        if not right:
            continue
        start, end = questions.starts[question], questions.starts[question] + len(right[0])
        begins, ends = characters_of(found, window).T
        of_text = begins != OUTSIDE
        first = np.flatnonzero(of_text & (begins <= start) & (ends > start))
        last = np.flatnonzero(of_text & (begins < end) & (ends >= end))
        if len(first) and len(last):
            places[window] = first[0], last[-1]
    return places


def characters_of(found: Split, window: int) -> np.ndarray:
    """Where each token of a window begins and ends in its text, (S, 2)."""
    assert found.characters is not None
    return np.asarray(found.characters[found.offsets[window] : found.offsets[window + 1]])


def best_spans(
    found: Split, scores: Sequence[np.ndarray], questions: int, unanswerable: bool, best: int = 20, longest: int = 30
) -> np.ndarray:
    """The best span of each question over its windows (Devlin et al. 2019, sections 4.2 and 4.3).

    A span's score is that of its first token as a beginning plus that of its last as an end; "no answer" scores as the
    window in which it is least likely.

    Args:
        found: the windows of Q questions.
        scores: of each window, (2, S): of every token as a beginning and as an end.
        questions: Q.
        unanswerable: whether a question may have no answer; otherwise the best span is always given.
        best: beginnings and ends that are tried in each window.
        longest: tokens of an answer.

    Returns:
        (Q, 3) in float64: where the answer begins and ends in its text, twice `OUTSIDE` for no answer; and by how much
        "no answer" scores higher than the best span, 0 where there is no span at all.
    """
    spans = np.full((questions, 3), -np.inf)  # begin, end, score
    nulls = np.full(questions, np.inf)
    assert found.groups is not None
    for window, question in enumerate(found.groups):
        begins, ends = scores[window]
        nulls[question] = np.fmin(nulls[question], begins[NO_ANSWER] + ends[NO_ANSWER])
        characters = characters_of(found, window)
        allowed = np.flatnonzero(characters[:, 0] != OUTSIDE)
        firsts = allowed[np.argsort(-begins[allowed], kind="stable")[:best]]
        lasts = allowed[np.argsort(-ends[allowed], kind="stable")[:best]]
        length = lasts[None] - firsts[:, None]
        both = np.where((length >= 0) & (length < longest), begins[firsts][:, None] + ends[lasts][None], -np.inf)
        first, last = np.unravel_index(both.argmax(), both.shape) if both.size else (0, 0)
        if both.size and not both[first, last] <= spans[question, 2]:  # also what is no number: it is to be seen
            spans[question] = characters[firsts[first], 0], characters[lasts[last], 1], both[first, last]
    margin = np.where(np.isneginf(spans[:, 2]), 0.0, nulls - spans[:, 2])
    answered = ~np.isneginf(spans[:, 2]) & ~(unanswerable & (margin > 0.0))
    return np.column_stack([np.where(answered[:, None], spans[:, :2], OUTSIDE), margin])


def words_of(questions: Questions, answers: np.ndarray) -> list[str]:
    """The words of the answers of `best_spans`, as they are written in the texts; empty for no answer."""
    pairs = zip(questions.texts, answers[:, :2].astype(int).tolist(), strict=True)
    return ["" if begin == OUTSIDE else text[begin:end] for text, (begin, end) in pairs]


def credits_of(questions: Questions, answers: np.ndarray) -> np.ndarray:
    """Exact match and F1 of the answers of `best_spans`, (Q, 2), NaN for a question whose answer nobody says."""
    found = np.full((len(answers), 2), np.nan)
    for place, (words, right) in enumerate(zip(words_of(questions, answers), questions.answers, strict=True)):
        if right is not None:
            found[place] = scored(words, right)
    return found


def scored(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, from 0 to 1, as the official script of SQuAD 2.0 counts them: the best over all
    right ones. Where there is none, or an answer has no words but articles, both are 1 for equal words and 0 else."""
    wanted = [words for each in right if (words := words_in(each))] or [[]]
    words = words_in(answer)
    f1 = max(word_overlap(words, each) if words and each else float(words == each) for each in wanted)
    return float(words in wanted), f1
