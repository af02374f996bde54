"""Prompts: one place for the answer, whole words of the prompt, and columns that give way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizer

from kdbench.data.batch import NO_PLACE, UNKNOWN_WORD
from kdbench.data.prompt import Prompt
from kdbench.error import KdbenchError


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Any:
    return BertTokenizer.from_pretrained(tokenizer_folder)


def test_the_answer_has_one_place_and_nobody_knows_its_word(tokenizer: Any) -> None:
    prompt = Prompt("{second}? {mask}, {first}")
    assert prompt.columns == ["second", "first"]
    ((tokens, words),) = prompt.sequences(tokenizer, {"first": ["a b"], "second": ["c"]}, None, 32)
    text = tokenizer.convert_ids_to_tokens(tokens.tolist())
    assert text == ["[CLS]", "c", "?", "[MASK]", ",", "a", "b", "[SEP]"]
    assert words.tolist() == [NO_PLACE] * 3 + [UNKNOWN_WORD] + [NO_PLACE] * 4


def test_a_choice_hides_its_own_words_and_an_absent_one_is_a_single_token(tokenizer: Any) -> None:
    prompt = Prompt("{first} so {choice}.")
    found = prompt.sequences(tokenizer, {"first": ["a", "a"]}, ["b c", None], 32)
    (tokens, words), (absent, nothing) = found
    hidden = [place for place, word in enumerate(words) if word != NO_PLACE]
    assert [tokens[place] for place in hidden] == [tokenizer.mask_token_id] * 2
    assert tokenizer.convert_ids_to_tokens([int(words[place]) for place in hidden]) == ["b", "c"]
    assert absent.tolist() == [tokenizer.cls_token_id] and nothing.tolist() == [NO_PLACE]


@pytest.mark.parametrize(("length", "kept"), [(32, (8, 3)), (14, (6, 3)), (10, (2, 3)), (7, (1, 1))])
def test_of_a_long_row_the_longest_column_loses_its_end(tokenizer: Any, length: int, kept: tuple[int, int]) -> None:
    long, short = "a b c d e f g h", "x y z"
    ((tokens, _),) = Prompt("{first}? {mask}, {second}").sequences(
        tokenizer, {"first": [long], "second": [short]}, None, length
    )
    text = tokenizer.convert_ids_to_tokens(tokens.tolist())
    expected = ["[CLS]", *long.split()[: kept[0]], "?", "[MASK]", ",", *short.split()[: kept[1]], "[SEP]"]
    assert text == expected and len(text) <= length


def test_a_row_without_room_for_the_prompt_is_refused(tokenizer: Any) -> None:
    with pytest.raises(KdbenchError, match=r"data\.max_length=4 leaves no room for the words of the prompt"):
        Prompt("{first}? {mask}.").sequences(tokenizer, {"first": ["a"]}, None, 4)


@pytest.mark.parametrize(
    ("text", "chooses"),
    [("{first}", False), ("{mask}", False), ("{first} {mask} {mask}", False), ("{first} {mask}", True)],
)
def test_a_prompt_without_its_place_is_refused(text: str, chooses: bool) -> None:
    with pytest.raises(KdbenchError, match=r"data\.cloze\.prompt"):
        Prompt(text).check("data.cloze.prompt", chooses)
