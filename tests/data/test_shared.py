"""Every GLUE and SuperGLUE task, read from the folder of shared data: its facts are those of the data's manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import BertTokenizer

from kdbench.data.batch import NO_PLACE
from kdbench.data.rows import rows_of
from kdbench.data.source import choose
from kdbench.data.task import Task
from kdbench.data.tokenised import data_signature, tokenise, tokenised
from kdbench.error import KdbenchError
from kdbench.store import Store

pytestmark = pytest.mark.shared

# Rows of `validation` by the README of the shared data.
VALIDATION = {
    "cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "qqp": 9670, "mnli": 9815, "qnli": 5463, "rte": 277,
    "wnli": 71,
}  # fmt: skip


@pytest.mark.parametrize("name", VALIDATION)
def test_a_task_reads_as_its_manifest_says(name, make_data, shared_data: Path) -> None:
    data = make_data(f"glue/{name}", "data.source=folder")
    task, source = Task.from_config(data), choose(data)
    rows = rows_of(task, "validation", source.read(task.splits["validation"], shared_data))
    assert len(rows) == VALIDATION[name]
    assert all(len(rows.texts(text)) == len(rows) for text in task.text)
    facts = json.loads((shared_data / "manifest.json").read_text())[f"glue/{name}"]["splits"][task.splits["validation"]]
    assert facts["rows"] == len(rows)
    if task.kind == "classification":
        counted = {label: int((rows.labels == place).sum()) for place, label in enumerate(task.labels)}
        assert counted == facts["label_counts"]


# Rows of `validation` of SuperGLUE, and how many sequences a row is; of ReCoRD only a sample of training rows is here.
SUPER = {"boolq": (3270, 1), "cb": (56, 1), "copa": (100, 2), "multirc": (4848, 1), "rte": (277, 1), "wic": (638, 1),
         "wsc": (104, 1)}  # fmt: skip
RECORD = ("record", "data.folder.path=super_glue/record_sample")


@pytest.mark.parametrize("name", SUPER)
def test_a_task_of_super_glue_reads_as_its_manifest_says(name, make_data, shared_data: Path) -> None:
    data = make_data(f"super_glue/{name}", "data.source=folder")
    task, source = Task.from_config(data), choose(data)
    rows = rows_of(task, "validation", source.read("validation", shared_data))
    count, choices = SUPER[name]
    assert len(rows) == count and all(len(rows.texts(text)) == count * choices for text in task.text)
    facts = json.loads((shared_data / "manifest.json").read_text())[f"super_glue/{name}"]["splits"]["validation"]
    counted = {label: int((rows.labels == place).sum()) for place, label in enumerate(task.labels)}
    assert counted == facts["label_counts"]


@pytest.mark.parametrize("form", ["head", "cloze"])
@pytest.mark.parametrize("name", [*SUPER, *(f"glue/{name}" for name in VALIDATION if name != "stsb"), "record"])
def test_a_task_is_read_in_either_form(name, form, make_data, shared_data: Path) -> None:
    """A prompt has one place a row, or a choice's own words; nothing is longer than it may be."""
    path = name if "/" in name else f"super_glue/{name}"
    sample = RECORD[1:] if name == "record" else ()
    data = make_data(
        path, "data.source=folder", f"data.format={form}", "data.train_rows=20", "data.max_length=96", *sample
    )
    task, tokenizer = Task.from_config(data), BertTokenizer.from_pretrained(shared_data / "vocab/bert-base-uncased")
    table = choose(data).read("train", shared_data)
    split = tokenise(tokenizer, rows_of(task, "train", table), task)
    assert len(split) == 20 and split.lengths.max() <= 96 and (split.words is not None) == (form == "cloze")
    assert split.choices == (len(task.labels) if task.chooses else 1)
    if split.words is not None:
        counts = np.add.reduceat(split.words != NO_PLACE, split.offsets[:-1])
        hidden = np.asarray(split.tokens) == tokenizer.mask_token_id
        assert np.array_equal(hidden, split.words != NO_PLACE)
        assert (counts == 1).all() if not task.chooses else (counts[split.lengths > 1] >= 1).all()
        if not task.chooses:
            assert len(task.head(tokenizer).answers) == len(task.labels)


def test_the_right_answer_of_record_is_among_those_listed(make_data, shared_data: Path) -> None:
    data = make_data("super_glue/record", "data.source=folder", RECORD[1])
    task = Task.from_config(data)
    rows = rows_of(task, "train", choose(data).read("train", shared_data))
    assert len(rows) == 32 and rows.credits is not None and rows.choices is not None
    right = rows.credits[np.arange(32), rows.labels]
    assert (right == 1).all() and (rows.credits[:, :, 0] <= rows.credits[:, :, 1]).all()
    assert all("@placeholder" not in text for text in rows.texts(task.text[1]))


def test_the_answers_of_a_question_stand_together(make_data, shared_data: Path) -> None:
    data = make_data("super_glue/multirc", "data.source=folder")
    task, table = Task.from_config(data), choose(data).read("validation", shared_data)
    rows = rows_of(task, "validation", table)
    keys = [(idx["paragraph"], idx["question"]) for idx in table.frame["idx"]]
    assert rows.groups is not None and len(set(rows.groups)) == len(set(keys)) < len(rows)
    assert len(set(zip(rows.groups, keys, strict=True))) == len(set(keys))


@pytest.mark.parametrize("name", sorted(set(VALIDATION) - {"stsb"}))
def test_the_classes_are_those_of_the_files(name, make_data, shared_data: Path) -> None:
    task = Task.from_config(make_data(f"glue/{name}"))
    for file in (shared_data / "glue" / name).glob("*.parquet"):
        features = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
        assert tuple(features[task.label]["names"]) == task.labels
        assert set(task.text) <= set(features)


@pytest.mark.parametrize("name", VALIDATION)
def test_a_task_is_tokenised_with_every_split_it_has(
    name, make_data, shared_data: Path, tmp_path, tokenizer_folder
) -> None:
    caps = ("data.train_rows=40", "data.evaluation_rows=30")
    data = make_data(f"glue/{name}", "data.source=folder", *caps)
    splits = tokenised(Store(tmp_path / "store"), data, shared_data, tokenizer_folder)
    assert {"train", "validation"} <= set(splits)
    assert ("test" in splits) == (name not in ("mnli", "qqp"))
    assert ("validation_mismatched" in splits) == (name == "mnli")
    assert len(splits["train"]) == 40
    assert len(splits["validation"]) == 30
    assert (splits["train"].lengths <= 128).all()


def test_hidden_labels_are_no_labels(make_data, shared_data: Path) -> None:
    data = make_data("glue/rte", "data.source=folder")
    rows = rows_of(Task.from_config(data), "test", choose(data).read("test", shared_data))
    assert len(rows) == 3000
    assert set(rows.labels.tolist()) == {-1}


def test_a_missing_task_is_said_with_the_tasks_that_are_there(make_data, shared_data: Path, tokenizer_folder) -> None:
    data = make_data("glue/rte", "data.source=folder", "data.folder.path=glue/rtw")
    with pytest.raises(KdbenchError, match=r"glue/rtw, beside it there is ax, cola, .*: set paths.data"):
        data_signature(data, shared_data, tokenizer_folder)
