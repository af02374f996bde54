"""SQuAD's questions as the folder of shared data has them: who points at the answers gets all of them right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertTokenizer

from kdbench.data.batch import Batch
from kdbench.data.span import NO_ANSWER, OUTSIDE, characters_of, words_of
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.data.tokenised import tokenised
from kdbench.model import Model
from kdbench.module.predictions import predictions, scores
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape
from kdbench.store import Store

pytestmark = pytest.mark.shared

# By set: the split of the files, its questions, and how many of them have no answer.
SPLITS = {
    "squad_v2_part": ("validation", 514, 244),
    "squad_part": ("validation", 514, 244),
    "xquad_en": ("validation", 1190, 0),
    "xquad_en apart": ("validation_apart", 838, 0),
}
AMID_A_WORD = "7,000,000 square kilometres (2,70"
"""An answer of XQuAD as its file has it, which no token ends with: the text goes on with another zero."""


class Knowing(Model):
    """A reader that is sure of the first and the last token of every window's answer, and surer of none."""

    @property
    def shape(self) -> Shape:
        raise NotImplementedError

    def forward(self, batch: Batch, taps: Taps) -> ModelOutputs:
        logits = torch.zeros(len(batch.labels), 2, batch.input_ids.shape[1])
        logits.scatter_(2, batch.labels.clamp(min=0)[:, :, None], 9.0)
        logits[..., NO_ANSWER] *= 2.0
        return ModelOutputs(mask=batch.attention_mask, labels=batch.labels, logits=logits)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def vocabulary(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT's tokenizer, with its 30,522 words."""
    folder = tmp_path_factory.mktemp("vocabulary")
    BertTokenizer.from_pretrained(shared_data / "vocab/bert-base-uncased").save_pretrained(folder)
    return folder


def read(make_data: Any, name: str, shared_data: Path, store: Path, folder: Path) -> tuple[Task, Split, list[Any]]:
    """A set in windows of 128 tokens, and the rows of its file as they stand there."""
    split, *_ = SPLITS[name]
    caps = ["data.max_length=128", "data.stride=48", "data.train_rows=50"]
    data = make_data(name.split()[0], "data.source=folder", f"data.splits.validation={split}", *caps)
    rows = tokenised(Store(store), data, shared_data, folder)["validation"]
    file = shared_data / data["folder"]["path"] / f"{split}.parquet"
    return Task.from_config(data), rows, pq.read_table(file).to_pylist()


@pytest.mark.parametrize("name", SPLITS)
def test_questions_are_those_of_the_file_and_their_windows_cover_the_texts(
    name: str, make_data: Any, shared_data: Path, tmp_path: Path, vocabulary: Path
) -> None:
    task, rows, written = read(make_data, name, shared_data, tmp_path / "store", vocabulary)
    _, count, unanswered = SPLITS[name]
    questions, covered = rows.questions, [np.zeros(len(row["context"]), dtype=bool) for row in written]
    assert questions is not None and rows.groups is not None and len(questions.texts) == len(written) == count
    assert sum(not row["answers"]["text"] for row in written) == unanswered
    nothing = () if task.unanswerable else None
    for row, text, right, start in zip(written, questions.texts, questions.answers, questions.starts, strict=True):
        assert text == row["context"] and right == (tuple(row["answers"]["text"]) or nothing)
        assert not right or text[start : start + len(right[0])] == right[0]
    for window, question in enumerate(rows.groups):
        for begin, end in characters_of(rows, window):
            covered[question][max(begin, 0) : max(end, 0)] |= begin != OUTSIDE
    assert rows.lengths.max() == 128 and len(rows) > 1.5 * count
    for seen, row in zip(covered, written, strict=True):
        left = {letter for letter, known in zip(row["context"], seen, strict=True) if not known}
        assert all(not letter.isprintable() or letter.isspace() for letter in left), left


@pytest.mark.parametrize("name", SPLITS)
def test_who_points_at_the_answers_gets_them_all_right(
    name: str, make_data: Any, shared_data: Path, tmp_path: Path, vocabulary: Path
) -> None:
    """And says that there is none where there is none; a question of which nobody says it is not counted."""
    task, rows, written = read(make_data, name, shared_data, tmp_path / "store", vocabulary)
    given = predictions(task, Knowing(), rows, 64, 0, "cpu")
    assert rows.questions is not None
    for said, row in zip(words_of(rows.questions, given), written, strict=True):
        right = row["answers"]["text"]
        if right and right != [AMID_A_WORD]:
            assert said.lower().strip(".") in [each.lower().strip(".") for each in right], row["id"]
        elif task.unanswerable:
            assert said == ""
    missed = sum(row["answers"]["text"] == [AMID_A_WORD] for row in written)
    found = scores(task, rows, given)
    assert found["answer_exact_match"] == pytest.approx(1 - missed / len(written))
    assert found["answer_f1"] >= 1 - missed / len(written) and (missed or found["answer_f1"] == 1.0)
    assert missed == (1 if name.startswith("xquad_en") else 0)
