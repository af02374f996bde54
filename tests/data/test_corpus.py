"""Texts as rows of tokens: nothing is lost, nothing is longer than it may be, and bad corpora are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.config import compose, plain
from kdbench.data.corpus import rows_of_texts, texts_of
from kdbench.data.source import Table
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.data.tokenised import data_signature, tokenised
from kdbench.error import KdbenchError
from kdbench.store import Store
from kdbench.tokenizer import load_tokenizer

TEXTS = ["the river was near", "a new engine", "we found the old forest and the valley and the desert", "salt"]
Overrides = Callable[..., list[str]]


@pytest.fixture
def tokenizer(tiny_teacher: Path) -> Any:
    return load_tokenizer(tiny_teacher)


def corpus(*overrides: str) -> dict[str, Any]:
    words = ["corpus=generated", *(f"+corpus.{word[1:]}" if word[0] == "+" else f"corpus.{word}" for word in overrides)]
    found: dict[str, Any] = plain(compose(["teacher=folder", "teacher.model=none", *words]).corpus)
    return found


def rows(tokenizer: Any, *overrides: str, texts: list[str] = TEXTS) -> Split:
    return rows_of_texts(tokenizer, texts, Task.from_config(corpus(*overrides)), "train")


def pieces(split: Split) -> list[list[int]]:
    return [part.tolist() for part in np.split(np.asarray(split.tokens), split.offsets[1:-1])]


def tokens(tokenizer: Any) -> list[list[int]]:
    found: list[list[int]] = tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    return found


def test_packed_rows_are_full_and_hold_all_texts_in_their_order(tokenizer: Any) -> None:
    found = pieces(rows(tokenizer, "packed=true", "max_length=8"))
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(row[0] == first and row[-1] == last for row in found)
    assert all(len(row) == 8 for row in found[:-1]) and 2 < len(found[-1]) <= 8
    joined = [token for row in found for token in row[1:-1]]
    expected = tokens(tokenizer)[0]
    for text in tokens(tokenizer)[1:]:
        expected = [*expected, last, *text]
    assert joined == expected


def test_apart_every_text_has_its_own_rows(tokenizer: Any) -> None:
    found = pieces(rows(tokenizer, "packed=false", "max_length=8"))
    expected = [text[start : start + 6] for text in tokens(tokenizer) for start in range(0, len(text), 6)]
    assert [row[1:-1] for row in found] == expected


def test_a_cap_keeps_some_rows_as_they_are(tokenizer: Any) -> None:
    whole, some = rows(tokenizer, "max_length=6"), rows(tokenizer, "max_length=6", "train_rows=2")
    assert len(some) == 2 and (np.diff(some.index) > 0).all()
    assert pieces(some) == [pieces(whole)[place] for place in some.index]


def test_marks_are_undone_and_empty_texts_left_out() -> None:
    task = Task.from_config({**corpus(), "replace": {" @-@ ": "-"}})
    table = Table(pd.DataFrame({"text": ["well @-@ known", "", "   ", None, "plain"]}))
    assert texts_of(task, "train", table) == ["well-known", "plain"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"text": ["", " "]}, "there is no text in the column text: give a corpus that has some"),
        ({"text": []}, "there is no text in the column text"),
        ({"line": ["words"]}, r"there is no column text, the columns are line: correct corpus\.text"),
    ],
)
def test_a_corpus_without_text_is_refused(frame: dict[str, list[str]], message: str) -> None:
    with pytest.raises(KdbenchError, match=message):
        texts_of(Task.from_config(corpus()), "train", Table(pd.DataFrame(frame)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("text=[text,second]", "a corpus has one column of text and no labels"),
        ("label=label", "a corpus has one column of text and no labels"),
        ("metrics=[accuracy]", "accuracy is no metric of a corpus; choose among masked_accuracy, perplexity"),
        ("packed=perhaps", "packed=perhaps"),
    ],
)
def test_what_makes_no_corpus_is_refused(override: str, message: str) -> None:
    with pytest.raises(KdbenchError, match=message):
        Task.from_config(corpus(override))


def test_rows_that_are_evaluated_have_places_that_never_change(tiny_teacher: Path, tmp_path: Path) -> None:
    first, again = (tokenised(Store(tmp_path / name), corpus(), tmp_path, tiny_teacher) for name in ("a", "b"))
    for name in ("validation", "test"):
        assert first[name].words is not None and np.array_equal(first[name].words, again[name].words)
    assert first["train"].words is None


def test_what_changes_the_rows_changes_their_name_and_the_masking_does_not(tiny_teacher: Path, tmp_path: Path) -> None:
    def named(*overrides: str) -> str:
        return data_signature(corpus(*overrides), tmp_path, tiny_teacher)

    for override in ("packed=false", "max_length=16", "train_rows=5", "+replace={river: stream}"):
        assert named(override) != named()
    for override in ("masking.rate=0.3", "masking.seed=5", "name=other"):
        assert named(override) == named()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["wikitext", "gutenberg", "imdb"])
def test_the_real_corpora_are_read(name: str, shared_data: Path, embedded: None) -> None:
    from kdbench.data.source import choose

    cfg = compose([f"corpus={name}", "corpus.source=folder"])
    data: dict[str, Any] = plain(cfg.corpus)
    task = Task.from_config(data)
    table = choose(data).read(task.splits["validation"], shared_data)
    assert table is not None
    texts = texts_of(task, "validation", table)
    assert len(texts) > 1000 and not any("<unk>" in text or "@-@" in text for text in texts)
