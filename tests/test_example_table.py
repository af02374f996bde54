"""What student and teacher say of the same rows, against their predictions in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

import kdbench
from kdbench.example_table import TEXT_LIMIT, confusion, example_table
from kdbench.finished_run import FinishedRun
from kdbench.store import Store

NUMBERS = ["data.kind=regression", "data.label=value", "data.labels=[]", "data.metrics=[pearson,spearman]"]


@pytest.fixture(scope="module")
def finished(store: Store, narrow_in: Callable[..., list[str]]) -> Callable[..., FinishedRun]:
    def compute(*data: str) -> FinishedRun:
        return FinishedRun(store, kdbench.run(kdbench.compose(narrow_in(store.root, *data)))["signature"])

    return compute


def test_rows_of_classes_stand_in_the_order_of_their_distance(finished: Callable[..., FinishedRun]) -> None:
    run = finished()
    found = example_table(run)
    assert found is not None
    said = softmax(np.load(run.folder / "predictions.validation.npy"), axis=1)
    taught = softmax(np.load(run.teacher_folder / "predictions.validation.npy"), axis=1)
    distances = np.abs(said - taught).sum(axis=1) / 2
    assert list(found["apart"]) == sorted(distances, reverse=True)
    assert sorted(found["index"]) == list(range(len(said)))
    place = dict(zip(found["index"], range(len(found)), strict=True))
    for row in (0, len(said) // 2):
        line = found.iloc[place[row]]
        assert line["student"] == run.task.labels[said[row].argmax()] and line["student_share"] == said[row].max()
        assert line["teacher"] == run.task.labels[taught[row].argmax()]
    agreed = float((found["student"] == found["teacher"]).mean())
    assert agreed == pytest.approx(run.record["agreement"]["validation"])
    right = float((found["student"] == found["label"]).mean())
    assert right == pytest.approx(run.record["metrics"]["validation/accuracy"])
    short = example_table(run, limit=3)
    assert short is not None and short.equals(found.head(3))


def test_a_text_is_what_the_student_read(finished: Callable[..., FinishedRun]) -> None:
    from kdbench.data.source import choose

    run = finished()
    found = example_table(run)
    assert found is not None and found["text"].str.len().max() <= TEXT_LIMIT
    data = kdbench.compose(["data=generated", "teacher=folder", "teacher.model=none"]).data
    table = choose(data).read(data.splits.validation, Path())
    assert table is not None
    source = table.frame
    for _, row in found.head(5).iterrows():
        written, read = source["text"][row["index"]].lower(), row["text"]
        assert "".join(read.split()) == "".join(written.split())


def test_a_confusion_matrix_counts_every_labelled_row(finished: Callable[..., FinishedRun]) -> None:
    run = finished()
    found = example_table(run)
    assert found is not None
    counts = confusion(found, run.task.labels)
    assert counts.sum() == len(found)
    assert np.trace(counts) / counts.sum() == pytest.approx(run.record["metrics"]["validation/accuracy"])
    found["label"] = None
    assert confusion(found, run.task.labels, by="teacher").sum() == 0


def test_numbers_are_told_apart_by_their_distance(finished: Callable[..., FinishedRun]) -> None:
    run = finished(*NUMBERS)
    found = example_table(run)
    assert found is not None
    assert np.allclose(found["apart"], (found["student"] - found["teacher"]).abs())
    assert found["apart"].is_monotonic_decreasing and found["label"].notna().all()


def test_without_the_data_there_are_no_examples(finished: Callable[..., FinishedRun]) -> None:
    run = finished()
    run.record["data"] = "0" * 16
    assert example_table(run) is None
