from __future__ import annotations

import pytest

from kdbench.data.task import Task
from kdbench.error import KdbenchError

SCORES = {
    "cola": "matthews", "sst2": "accuracy", "mrpc": "f1", "stsb": "pearson", "qqp": "f1",
    "mnli": "accuracy", "qnli": "accuracy", "rte": "accuracy", "wnli": "accuracy",
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_glue_comes_from_a_pinned_hub_and_can_come_from_a_folder(make_data, name) -> None:
    data = make_data(f"glue/{name}")
    task = Task.from_config(data)
    assert task.name == f"glue/{name}"
    assert task.score == f"validation/{SCORES[name]}"
    assert task.outputs == {"stsb": 1, "mnli": 3}.get(name, 2)
    assert data["source"] == "hub"
    assert (data["hub"]["path"], data["hub"]["name"]) == ("nyu-mll/glue", name)
    assert len(data["hub"]["revision"]) == 40
    assert data["folder"]["path"] == f"glue/{name}"


def test_mnli_is_scored_on_the_matched_rows(make_data) -> None:
    splits = Task.from_config(make_data("glue/mnli")).splits
    assert splits["validation"] == "validation_matched"
    assert splits["validation_mismatched"] == "validation_mismatched"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.kind=ranking"], "data.kind=ranking is unknown; choose classification, regression, span, words"),
        (["data.metrics=[accurracy]"], "accurracy is no metric of a classification; choose among accuracy, f1"),
        (["data.metrics=[pearson]"], "pearson is no metric of a classification"),
        (["data.metrics=[]"], "is empty; choose among"),
        (["data.kind=regression"], "accuracy is no metric of a regression; choose among pearson, spearman"),
        (["data.labels=[a]"], "must name two or more different classes"),
        (["data.labels=[a,a]"], "must name two or more different classes"),
        (["data.labels=[a,b,c]", "data.metrics=[f1]"], "f1 needs two classes and generated has 3: use macro_f1"),
        (["data.text=[a,b,c]"], "must name one column of text, or two for a pair"),
        (["data.train_rows=0"], "data.train_rows=0 must be a whole number of at least 1, or null for every row"),
        (["data.evaluation_rows=-5"], "data.evaluation_rows=-5 must be a whole number of at least 1"),
        (["data.max_length=2"], "data.max_length=2 leaves no room for text"),
        (["data.bins=21"], "data.bins=21 must have lowest, highest and count"),
        (["data.bins={lowest: 1, highest: 5, count: 21}"], "set data.kind=classification and data.labels=[]"),
        (["data.labels=[]", "data.bins={lowest: 5, highest: 1, count: 3}"], "data.bins.lowest=5 must be below"),
        (["data.labels=[]", "data.bins={lowest: 1, highest: 5, count: 1}"], "data.bins.count=1 must be a whole number"),
    ],
)
def test_a_task_that_cannot_work_is_refused(make_data, overrides, sentence) -> None:
    with pytest.raises(KdbenchError) as caught:
        Task.from_config(make_data("generated", *overrides))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
