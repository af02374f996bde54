from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from kdbench.data.rows import rows_of
from kdbench.data.source import Table
from kdbench.data.task import Task
from kdbench.error import KdbenchError


@pytest.fixture
def make_task(make_data):
    def make(*overrides: str) -> Task:
        return Task.from_config(make_data("generated", "data.labels=[rotten,fresh]", *overrides))

    return make


def table(labels: list, texts: list | None = None, **classes: tuple[str, ...]) -> Table:
    texts = [f"t{place}" for place in range(len(labels))] if texts is None else texts
    return Table(pd.DataFrame({"text": texts, "label": labels}), classes)


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ([0, 1, -1], [0, 1, -1]),
        ([0.0, 1.0, math.nan], [0, 1, -1]),
        (["fresh", "rotten", ""], [1, 0, -1]),
        (["fresh", None, "0"], [1, -1, 0]),
        (["1", "0", "-1"], [1, 0, -1]),
        ([True, False, True], [1, 0, 1]),
        ([None, None, None], [-1, -1, -1]),
    ],
)
def test_labels_are_names_or_numbers_and_may_be_absent(make_task, labels, read) -> None:
    rows = rows_of(make_task(), "validation", table(labels))
    assert rows.labels.tolist() == read
    assert rows.labels.dtype == np.int64


def test_a_name_that_is_a_number_comes_before_the_number(make_task) -> None:
    rows = rows_of(make_task("data.labels=[1,2,3]"), "validation", table([1, 3, 2]))
    assert rows.labels.tolist() == [0, 2, 1]


def test_numbers_as_classes_in_equal_steps(make_task) -> None:
    """STS-B's 21 classes (Galke et al. 2022): the nearest step from 1 to 5, and what lies outside at its end."""
    task = make_task("data.labels=[]", "data.bins={lowest: 1, highest: 5, count: 21}", "data.metrics=[pearson]")
    rows = rows_of(task, "validation", table([0.0, 1.0, 1.2, 1.29, 1.31, 4.8, 5.0, math.nan, "3"]))
    assert rows.labels.tolist() == [0, 0, 1, 1, 2, 19, 20, -1, 10]
    assert task.labels[0] == "1" and task.labels[1] == "1.2" and task.labels[20] == "5" and task.outputs == 21
    for value in (0.0, 0.37, 1.0, 2.3, 2.5, 3.25, 4.749, 5.0, *(place / 10 for place in range(51))):
        rounded = min(max(round(5 * value) / 5, 1), 5)
        assert rows_of(task, "validation", table([value, 1.0])).labels[0] == round((rounded - 1) / 0.2)


REGRESSION = ("data.kind=regression", "data.metrics=[pearson]")


@pytest.mark.parametrize(
    ("labels", "overrides", "sentence"),
    [
        ([0, 1, 2], (), "row 2 has the label 2, which is not one of rotten, fresh or a number below 2"),
        ([0, -2], (), "row 1 has the label -2, which"),
        ([0, 0.5], (), "row 1 has the label 0.5, which"),
        (["fresh", "stale"], (), "row 1 has the label 'stale', which"),
        ([0, [1]], (), "row 1 has the label '[1]', which"),
        ([1.0, 5.5], (*REGRESSION, "data.range=[0,5]"), "row 1 has the label 5.5, which is not a number from 0 to 5"),
        ([1.0, math.inf], REGRESSION, "row 1 has the label inf, which is not a number"),
        ([1.0, "high"], REGRESSION, "row 1 has the label 'high', which is not a number"),
    ],
)
def test_a_label_that_means_nothing_is_refused(make_task, labels, overrides, sentence) -> None:
    with pytest.raises(KdbenchError) as caught:
        rows_of(make_task(*overrides), "validation", table(labels))
    assert f"split validation: {sentence}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_regression_labels_are_floats_and_the_hidden_value_is_nan(make_task) -> None:
    task = make_task("data.kind=regression", "data.metrics=[pearson]", "data.hidden_label=-1", "data.range=[0,5]")
    rows = rows_of(task, "validation", table([0.0, 2.5, -1.0, 5.0, None]))
    assert rows.labels.dtype == np.float32
    assert np.array_equal(rows.labels, [0.0, 2.5, np.nan, 5.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("split", "overrides", "places"),
    [
        ("train", (), [0, 2]),
        ("train", ("data.unlabelled=true",), [0, 1, 2]),
        ("validation", (), [0, 1, 2]),
    ],
)
def test_only_training_leaves_out_unlabelled_rows(make_task, split, overrides, places) -> None:
    rows = rows_of(make_task(*overrides), split, table([1, -1, 0]))
    assert rows.index.tolist() == places
    assert rows.columns == {"text": [f"t{place}" for place in places]}


def test_a_task_without_a_label_column_is_for_distillation(make_task) -> None:
    unlabelled = Table(pd.DataFrame({"text": ["a", "b"]}))
    rows = rows_of(make_task("data.label=null", "data.unlabelled=true"), "train", unlabelled)
    assert rows.labels.tolist() == [-1, -1]
    with pytest.raises(KdbenchError, match=r"no examples with a label; data.unlabelled=true keeps rows"):
        rows_of(make_task("data.label=null"), "train", unlabelled)


def test_a_cap_is_a_random_subset_that_grows(make_task) -> None:
    big = table([place % 2 for place in range(200)])

    def places(*overrides: str, split: str = "train") -> list[int]:
        return rows_of(make_task(*overrides), split, big).index.tolist()

    ten, fifty = places("data.train_rows=10"), places("data.train_rows=50")
    assert len(ten) == 10
    assert ten == sorted(ten)
    assert set(ten) < set(fifty)
    assert ten == places("data.train_rows=10")
    assert ten != places("data.train_rows=10", "data.seed=2")
    assert ten != list(range(10))
    assert places("data.train_rows=300") == list(range(200))
    assert len(places("data.train_rows=10", split="validation")) == 200
    assert len(places("data.evaluation_rows=7", split="test")) == 7


@pytest.mark.parametrize(
    ("bad", "overrides", "sentence"),
    [
        (table([0, 1]), ("data.text=sentence",), "there is no column sentence, the columns are text, label: correct"),
        (table([0, 1]), ("data.label=gold",), "there is no column gold, the columns are text, label: correct"),
        (table([]), (), "there are no examples$"),
        (table([-1, -1]), (), "there are no examples with a label; data.unlabelled=true keeps"),
        (table([0, 1], ["a", None]), (), "row 1 has no text in column text: remove the row"),
        (table([0, 1], label=("fresh", "rotten")), (), r"the source's classes are \['fresh', 'rotten'\]: write them"),
    ],
)
def test_a_bad_table_is_refused(make_task, bad, overrides, sentence) -> None:
    with pytest.raises(KdbenchError, match=sentence):
        rows_of(make_task(*overrides), "train", bad)
