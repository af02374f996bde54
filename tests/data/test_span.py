"""Windows over long texts, where an answer stands in them, and which span is given as the answer."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from transformers import PreTrainedTokenizerFast

from kdbench.data.questions import Questions
from kdbench.data.span import (
    NO_ANSWER,
    OUTSIDE,
    UNKNOWN,
    best_spans,
    characters_of,
    credits_of,
    scored,
    targets,
    windows,
    words_of,
)
from kdbench.data.split import Split
from kdbench.error import KdbenchError

LETTERS = [f"w{number}" for number in range(40)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word, `[CLS] question [SEP] text [SEP]`."""
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "who", "?", *LETTERS])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


TEXTS = [" ".join(LETTERS[:10]), " ".join(LETTERS[20:23])]
QUESTIONS = ["who ?", "  who ?"]


@pytest.fixture(scope="module")
def found(tokenizer: PreTrainedTokenizerFast) -> Split:
    return windows(tokenizer, QUESTIONS, TEXTS, max_length=11, stride=2)


def asked(*answers: str | None) -> Questions:
    """The two questions, with these answers; empty: there is none, None: nobody says."""
    right = tuple(None if answer is None else tuple([answer] * bool(answer)) for answer in answers)
    starts = np.array([text.index(answer or "") for text, answer in zip(TEXTS, answers, strict=True)])
    return Questions(np.arange(2), tuple(TEXTS), right, starts)


def test_windows_cover_a_text_and_share_their_stride(found: Split, tokenizer: PreTrainedTokenizerFast) -> None:
    """Six words a window beside five of the question's, four of them new."""
    assert found.groups is not None
    assert found.groups.tolist() == [0, 0, 1] and found.lengths.tolist() == [11, 11, 8]
    read = [
        tokenizer.convert_ids_to_tokens(found.tokens[found.offsets[n] : found.offsets[n + 1]].tolist())
        for n in range(3)
    ]
    assert read[0] == ["[CLS]", "who", "?", "[SEP]", *LETTERS[:6], "[SEP]"]
    assert read[1][4:-1] == LETTERS[4:10] and read[2][4:-1] == LETTERS[20:23]
    for window in range(3):
        inside = [pair for pair in characters_of(found, window).tolist() if pair[0] != OUTSIDE]
        text = TEXTS[found.groups[window]]
        assert [text[start:end] for start, end in inside] == read[window][4:-1]


ANSWER = " ".join(LETTERS[5:8])


def test_targets_are_the_tokens_of_the_answer_or_none(found: Split) -> None:
    # The first window ends within it.
    assert targets(found, asked(ANSWER, "")).tolist() == [[NO_ANSWER] * 2, [5, 7], [NO_ANSWER] * 2]
    assert targets(found, asked("w5", "w20 w21 w22")).tolist() == [[9, 9], [5, 5], [4, 6]]
    assert targets(found, asked(None, "w22")).tolist() == [[UNKNOWN] * 2, [UNKNOWN] * 2, [6, 6]]


def right_scores(found: Split, places: np.ndarray) -> list[np.ndarray]:
    """As sure of the targets as can be."""
    made = []
    for length, (first, last) in zip(found.lengths, places, strict=True):
        made.append(np.zeros((2, length), dtype=np.float32))
        made[-1][0, first] = made[-1][1, last] = 9.0
    return made


def said(found: Split, scores: list[np.ndarray], unanswerable: bool = False, longest: int = 30) -> list[str]:
    return words_of(asked("", ""), best_spans(found, scores, 2, unanswerable, longest=longest))


def test_who_is_sure_of_the_targets_answers_right(found: Split) -> None:
    questions = asked(ANSWER, "")
    given = best_spans(found, right_scores(found, targets(found, questions)), 2, unanswerable=True)
    assert words_of(questions, given) == [ANSWER, ""]
    # The window without the answer is sure that there is none; the one that has it is not.
    assert given[0, 2] < 0 < given[1, 2]
    assert credits_of(questions, given).tolist() == [[1.0, 1.0]] * 2
    unknown = credits_of(asked(ANSWER, None), given)
    assert unknown[0].tolist() == [1.0, 1.0] and np.isnan(unknown[1]).all()


def test_a_question_that_has_an_answer_gets_one(found: Split) -> None:
    scores = right_scores(found, np.zeros((3, 2), dtype=np.int64))
    assert all(said(found, scores)) and not any(said(found, scores, unanswerable=True))


def test_no_answer_ends_before_it_begins_nor_goes_on_too_long(found: Split) -> None:
    scores = [np.zeros((2, length), dtype=np.float32) for length in found.lengths]
    scores[2][0, 6] = scores[2][1, 4] = 5.0  # begins with the last word, ends with the first
    assert said(found, scores)[1] in ("w22", "w20", "w20 w21", "w20 w21 w22")
    scores[2][:] = 0.0
    scores[2][0, 4] = scores[2][1, 6] = 5.0
    assert said(found, scores)[1] == "w20 w21 w22"
    assert len(said(found, scores, longest=2)[1].split()) <= 2


def test_the_best_span_is_that_of_every_pair(found: Split) -> None:
    """Against a search through all of them, window by window."""
    random = np.random.default_rng(3)
    scores = [random.normal(size=(2, length)) for length in found.lengths]
    given = best_spans(found, scores, 2, unanswerable=False)
    assert found.groups is not None
    for question in (0, 1):
        best, null = (-np.inf, 0, 0), np.inf
        for window in np.flatnonzero(found.groups == question):
            (begins, ends), places = scores[window], characters_of(found, window)
            null = min(null, begins[0] + ends[0])
            inside = [token for token, (start, _) in enumerate(places) if start != OUTSIDE]
            pairs = [(first, last) for first in inside for last in inside if first <= last]
            every = [(begins[i] + ends[j], int(places[i, 0]), int(places[j, 1])) for i, j in pairs]
            best = max(best, *every)
        assert given[question].tolist() == [best[1], best[2], pytest.approx(null - best[0])]


def test_scores_that_are_no_numbers_are_told(found: Split) -> None:
    given = best_spans(found, [np.full((2, length), np.nan) for length in found.lengths], 2, unanswerable=True)
    assert np.isnan(given[:, 2]).all()


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("The Norman dynasty!", ["norman Dynasty", "other"], 1.0, 1.0),
        ("in France", ["France"], 0.0, 2 / 3),
        ("", [], 1.0, 1.0),
        ("the", [], 1.0, 1.0),
        ("a", ["the"], 1.0, 1.0),
        ("the", ["the engine"], 0.0, 0.0),
        ("engine", ["the", "an engine"], 1.0, 1.0),
        ("France", [], 0.0, 0.0),
        ("", ["France"], 0.0, 0.0),
    ],
)
def test_scores_are_those_of_squad(answer: str, right: list[str], exact: float, f1: float) -> None:
    assert scored(answer, right) == (exact, pytest.approx(f1))


def official(answer: str, right: list[str]) -> tuple[float, float]:
    """As the rules of SQuAD 2.0 say it, written down from them: words without case, punctuation and articles; right
    answers without words do not count; no words on a side are right or wrong as a whole."""

    def words(text: str) -> list[str]:
        kept = "".join(
            " " if letter in "\n\t" else letter for letter in text.lower() if letter.isalnum() or letter == " "
        )
        return [word for word in kept.split() if word not in ("a", "an", "the")]

    def f1(one: list[str], other: list[str]) -> float:
        if not one or not other:
            return float(one == other)
        rest, common = list(other), 0
        for word in one:
            if word in rest:
                rest.remove(word)
                common += 1
        if not common:
            return 0.0
        precision, recall = common / len(one), common / len(other)
        return 2 * precision * recall / (precision + recall)

    wanted = [words(each) for each in right if words(each)] or [[]]
    said = words(answer)
    return max(float(said == each) for each in wanted), max(f1(said, each) for each in wanted)


def test_scores_are_those_of_the_rules() -> None:
    """On many answers of few words, articles and punctuation among them."""
    random = np.random.default_rng(0)
    pieces = ["the", "A", "an", "engine", "Engine,", "old", "river!", "1900"]
    for _ in range(2000):
        answer = " ".join(random.choice(pieces, size=random.integers(0, 4)))
        right = [" ".join(random.choice(pieces, size=random.integers(1, 4))) for _ in range(random.integers(0, 3))]
        assert scored(answer, right) == pytest.approx(official(answer, right)), (answer, right)


def test_a_tokenizer_with_more_marks_has_less_room_and_reads_a_question_without_its_margins() -> None:
    """RoBERTa's has four around a pair, and takes every leading space for a token."""
    letters = {letter: number for number, letter in enumerate(["<s>", "</s>", *"Ġwho?xyz"])}
    made = Tokenizer(BPE(letters, [], unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="?")
    found = windows(tokenizer, ["   who"], ["xyzxyz"], max_length=11, stride=3)
    assert found.lengths.tolist() == [11, 9] or found.lengths.max() <= 11
    assert "".join(tokenizer.convert_ids_to_tokens(found.tokens[:4].tolist())) == "<s>who"
    with pytest.raises(KdbenchError, match=r"data\.max_length=10 leaves no room beside a question of 3 tokens"):
        windows(tokenizer, ["   who"], ["xyzxyz"], max_length=10, stride=3)


def test_windows_do_not_depend_on_how_many_are_made_at_once(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, texts = QUESTIONS * 3, TEXTS * 3
    whole = windows(tokenizer, asked, texts, max_length=11, stride=2)
    monkeypatch.setattr("kdbench.data.span.CHUNK", 2)
    parts = windows(tokenizer, asked, texts, max_length=11, stride=2)
    for name in ("tokens", "types", "offsets", "groups", "characters", "index"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_a_length_without_room_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(
        KdbenchError, match=r"data\.max_length=7 leaves no room beside a question of 2 tokens and data\.stride=2"
    ):
        windows(tokenizer, QUESTIONS, TEXTS, max_length=7, stride=2)
