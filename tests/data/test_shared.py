"""Every GLUE task, read from the folder of shared data: its facts are those of the data's own manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kdbench.data.rows import rows_of
from kdbench.data.source import choose
from kdbench.data.task import Task
from kdbench.data.tokenised import data_signature, tokenised
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
    assert len(rows.texts) == len(task.text)
    facts = json.loads((shared_data / "manifest.json").read_text())[f"glue/{name}"]["splits"][task.splits["validation"]]
    assert facts["rows"] == len(rows)
    if task.kind == "classification":
        counted = {label: int((rows.labels == place).sum()) for place, label in enumerate(task.labels)}
        assert counted == facts["label_counts"]


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
