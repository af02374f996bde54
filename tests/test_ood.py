"""Other data sets than a student's own: how its classes are read there, what a run keeps of it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf

import kdbench
from kdbench.config import CONF_DIR, plain
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.evaluation import Request, evaluate_run
from kdbench.finished_run import FinishedRun
from kdbench.module.predictions import scores
from kdbench.ood import OodSet, evaluate_elsewhere, ood_sets, rows_of_set
from kdbench.planning import plan_run
from kdbench.store import Store

Overrides = Callable[..., list[str]]
OWN: dict[str, Any] = {
    "name": "own",
    "kind": "classification",
    "text": "text",
    "label": "label",
    "labels": ["yes", "maybe", "no"],
    "metrics": ["accuracy"],
    "splits": {"train": "train", "validation": "validation"},
    "optional": [],
    "hidden_label": None,
    "range": None,
    "train_rows": None,
    "evaluation_rows": None,
    "seed": 1,
    "max_length": 32,
    "unlabelled": False,
}
OTHER = {**OWN, "name": "other", "labels": ["true", "false"]}
READ = {"yes": "true", "maybe": "false", "no": "false"}


def made(classes: dict[str, str] = READ, **own: Any) -> OodSet:
    node = {"data": OTHER, "split": "validation", "classes": classes}
    return OodSet.from_config("far", node, Task.from_config({**OWN, **own}))


def test_the_likeliest_class_is_read_as_its_own() -> None:
    """Not the sum of what is read as one: 0.4 for yes is more than 0.3 for each of the others."""
    logits = np.log(np.array([[0.4, 0.3, 0.3], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6]], dtype=np.float32))
    found = made().read_as(logits)
    assert found.argmax(axis=1).tolist() == [0, 1, 1]
    np.testing.assert_allclose(found, np.log([[0.4, 0.3], [0.2, 0.5], [0.3, 0.6]]), rtol=1e-6)


def test_a_class_that_none_is_read_as_is_never_chosen() -> None:
    found = made({"yes": "true", "maybe": "true", "no": "true"}).read_as(
        np.array([[-3.0, -2.0, -9.0]], dtype=np.float32)
    )
    assert np.isfinite(found).all() and found.argmax(axis=1).tolist() == [0]


@pytest.mark.parametrize(
    ("classes", "own", "message"),
    [
        ({"yes": "true"}, {}, r"ood.far.classes=.* must give each of the classes \['yes', 'maybe', 'no'\]"),
        ({**READ, "no": "perhaps"}, {}, r"one of \['true', 'false'\]"),
        (READ, {"kind": "regression", "labels": [], "metrics": ["pearson"]}, "needs a student that scores classes"),
    ],
)
def test_classes_that_cannot_be_read_are_refused(classes: dict[str, str], own: dict[str, Any], message: str) -> None:
    with pytest.raises((KdbenchError, ImpossibleError), match=message):
        made(classes, **own)


def test_a_finished_model_is_evaluated_once_in_each_reading() -> None:
    """Other classes, or another metric, are no reason to tell what was found before."""
    offsets, labels = np.arange(4), np.array([0, 1, 1])
    rows = Split(np.arange(3, dtype=np.int32), np.zeros(3, dtype=np.int8), offsets, labels, np.arange(3))
    asked = []

    def say(model: Any, rows: Split) -> np.ndarray:
        asked.append(model)
        return np.eye(3, dtype=np.float32)

    def found(each: OodSet) -> Any:
        finished = {"teacher_metrics": "teacher-of-this-test"}
        return evaluate_elsewhere([each], {"teacher_metrics": None}, say, lambda _: rows, finished)["far"]  # type: ignore

    other = made({"yes": "false", "maybe": "true", "no": "false"})
    counted = replace(made(), task=replace(made().task, metrics=("f1",)))
    for _ in range(2):
        assert found(made())["teacher_metrics"] == {"accuracy": 1.0}
        assert found(other)["teacher_metrics"] == {"accuracy": pytest.approx(1 / 3)}
        assert found(counted)["teacher_metrics"] == {"f1": 1.0}
    assert len(asked) == 3


FAR = {"text": ["the river was near the mountain.", "we found an old engine.", "the forest."], "label": [1, 0, 1]}


def logits(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    """What a model says of a pair of equal sentences, without the engine."""
    inputs = tokenizer(text, text, return_tensors="pt")
    with torch.inference_mode():
        found: torch.Tensor = model.model.eval()(**inputs).logits
    return found


@pytest.fixture
def far(tmp_path: Path) -> list[str]:
    """Overrides for a set in a folder: the sentences of the generated data with their classes turned around."""
    rows = FAR
    (tmp_path / "data/paws").mkdir(parents=True)
    frame = pd.DataFrame({"sentence1": rows["text"], "sentence2": rows["text"], "label": rows["label"]})
    frame.to_csv(tmp_path / "data/paws/validation.csv", index=False)
    node = ["data.source=folder", "data.folder.path=paws", "data.max_length=32"]
    return [
        f"paths.data={tmp_path / 'data'}",
        "ood=mrpc",
        *(f"ood.paws.{key}" for key in node),
        "+ood.paws.classes={nature: '1', machines: '0'}",
        "~ood.paws.classes.not_equivalent",
        "~ood.paws.classes.equivalent",
    ]


def test_a_run_keeps_how_it_does_elsewhere(tiny: Overrides, far: list[str], tmp_path: Path) -> None:
    """Of the student and of its teacher; the stage is that of a run without."""
    plain = kdbench.run(kdbench.compose(tiny("method=label")))
    record = kdbench.run(kdbench.compose(tiny("method=label", *far)))
    assert "ood" not in plain and record["stages"] == plain["stages"] and record["signature"] != plain["signature"]
    found = record["ood"]["paws"]
    assert (found["data"], found["split"], found["rows"]) == ("paws", "validation", 3)
    assert set(found["metrics"]) == set(found["teacher_metrics"]) == {"accuracy"}
    store = Store(tmp_path / "store")
    # Its rows are among what the run was planned to need, and keep as long as the run does.
    assert len([each for each in record["built_from"] if store.has("data", each)]) == 2
    assert len([each for each in plain["built_from"] if store.has("data", each)]) == 1
    run = FinishedRun(store, record["signature"])
    for role, model in (("metrics", run.student()), ("teacher_metrics", run.teacher())):
        said = [int(logits(model, run.tokenizer, text).argmax()) for text in FAR["text"]]
        # The first class of the generated data is read as the second one there.
        right = [1 - each == label for each, label in zip(said, FAR["label"], strict=True)]
        assert found[role]["accuracy"] == pytest.approx(sum(right) / 3)
    # The same afterwards, of a run that was made without.
    run = FinishedRun(Store(tmp_path / "store"), plain["signature"])
    cfg = kdbench.compose(tiny("method=label", *far))
    request = Request(None, tmp_path / "data", ood=OmegaConf.to_container(cfg.ood))  # type: ignore[arg-type]
    assert evaluate_run(run, request, tmp_path / "out")["ood"] == record["ood"]


@pytest.mark.parametrize(
    ("own", "other"), [("text", ["text", "second"]), (["text", "second"], "text")], ids=["pairs", "single texts"]
)
def test_another_number_of_texts_is_refused_of_a_student_that_reads_two_apart(own: Any, other: Any) -> None:
    node = {"far": {"data": {**OTHER, "text": other}, "split": "validation", "classes": READ}}
    task = Task.from_config({**OWN, "text": own})
    with pytest.raises(ImpossibleError, match=r"ood\.far\.data=other has . texts a row, .* choose ood=none"):
        ood_sets(node, task, "folder", {"pair": "diffcat"})
    for student in ({"pair": "joint"}, {}):
        assert len(ood_sets(node, task, "folder", student)) == 1
    alike = {"far": {**node["far"], "data": {**OTHER, "text": own}}}
    assert len(ood_sets(alike, task, "folder", {"pair": "diffcat"})) == 1


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (3, r"ood\.far=3 is no set to evaluate: give it data and split"),
        ({"split": "validation"}, r"is no set to evaluate"),
        ({"data": OTHER, "split": "validation", "classes": None}, r"must give each of the classes"),
    ],
)
def test_what_is_no_set_is_refused(node: Any, message: str) -> None:
    with pytest.raises(KdbenchError, match=message):
        OodSet.from_config("far", node, Task.from_config(OWN))


def test_a_set_is_read_as_long_as_the_student_reads_and_from_where_its_rows_come() -> None:
    node = {"data": {**OTHER, "max_length": 99, "source": None}, "split": "validation", "classes": READ}
    for own_source, source in (("hub", "hub"), ("folder", "folder"), ("embedded", "folder")):
        found = OodSet.from_config("far", node, Task.from_config({**OWN, "evaluation_rows": 7}), own_source)
        assert (found.data["source"], found.data["max_length"], found.data["evaluation_rows"]) == (source, 32, 7)
    own = OodSet.from_config(
        "far", {**node, "data": {**OTHER, "evaluation_rows": 3, "max_length": 9}}, Task.from_config(OWN)
    )
    assert (own.data["max_length"], own.data["evaluation_rows"]) == (9, 3)
    assert ood_sets({"far": None}, Task.from_config(OWN), "folder", {}) == []


def test_a_set_that_is_not_there_is_refused_at_once(tiny: Overrides, far: list[str], tmp_path: Path) -> None:
    (tmp_path / "data/paws/validation.csv").unlink()
    with pytest.raises(KdbenchError, match=r"has no validation\.parquet, \.csv or \.jsonl"):
        plan_run(kdbench.compose(tiny("method=label", *far)), Store(tmp_path / "store"))
    with pytest.raises(KdbenchError, match=r"ood\.paws\.split=dev is no split of paws: choose among"):
        plan_run(kdbench.compose(tiny("method=label", *far, "ood.paws.split=dev")), Store(tmp_path / "store"))


AS_THEY_ARE = {label: label for label in ("entailment", "neutral", "contradiction")}
OF_HYPOTHESES = {"entailment": "entailment", "neutral": "non-entailment", "contradiction": "non-entailment"}
OF_REVIEWS = {"negative": "neg", "positive": "pos"}
# By option and task: of each set the split of its source, and what each of the student's classes is there.
MEANT: dict[tuple[str, str], dict[str, tuple[str, dict[str, str]]]] = {
    ("mrpc", "glue/mrpc"): {"paws": ("validation", {"not_equivalent": "0", "equivalent": "1"})},
    ("rte", "glue/rte"): {
        "hans": ("validation", {"entailment": "entailment", "not_entailment": "non-entailment"}),
    },
    ("sst2", "glue/sst2"): {"imdb": ("test", OF_REVIEWS), "imdb_contrast": ("contrast", OF_REVIEWS)},
    ("imdb", "glue/sst2"): {"imdb": ("test", OF_REVIEWS)},
    ("mnli", "glue/mnli"): {
        "anli": ("dev_r1", AS_THEY_ARE),
        "anli_2": ("dev_r2", AS_THEY_ARE),
        "anli_3": ("dev_r3", AS_THEY_ARE),
        "snli": ("validation", AS_THEY_ARE),
        "hans": ("validation", OF_HYPOTHESES),
    },
    ("squad_v2_part", "squad_part"): {"xquad_en": ("validation_apart", {})},
    ("squad_v2_part", "squad_v2_part"): {"xquad_en": ("validation_apart", {})},
}
chosen = pytest.mark.parametrize(("option", "data"), MEANT, ids=[f"{option} of {data}" for option, data in MEANT])


def sets_of(option: str, data: str, *more: str) -> tuple[Task, list[OodSet]]:
    """A run's task, and the sets of an option."""
    cfg = kdbench.compose([f"data={data}", "data.source=folder", f"ood={option}", *more])
    task = Task.from_config(plain(cfg.data))
    return task, ood_sets(cfg.ood, task, cfg.data.source, cfg.student)


def test_every_option_is_tried() -> None:
    files = {file.stem for file in (CONF_DIR / "ood").glob("*.yaml")}
    assert {option for option, _ in MEANT} == files - {"none"}


@chosen
def test_each_class_stands_for_its_own_label_elsewhere(option: str, data: str) -> None:
    """A student that is sure of one of its classes says the label that means the same there."""
    own, sets = sets_of(option, data)
    assert {each.name for each in sets} == set(MEANT[option, data])
    for each in sets:
        split, meant = MEANT[option, data][each.name]
        assert dict(each.data["splits"]) == {each.split: split}
        said = each.read_as(np.eye(len(own.labels), dtype=np.float32)) if own.labels else np.empty((0, 1))
        assert {ours: each.task.labels[row.argmax()] for ours, row in zip(own.labels, said, strict=True)} == meant


@pytest.mark.shared
@pytest.mark.parametrize(("option", "data"), [chosen for chosen in MEANT if "squad" not in chosen[0]])
def test_who_knows_every_label_elsewhere_is_always_right(
    option: str, data: str, tmp_path: Path, shared_data: Path, tiny_teacher: Path
) -> None:
    """By the names that the files themselves give their labels; who is sure of another class is always wrong."""
    own, sets = sets_of(option, data, "data.evaluation_rows=200")
    for each in sets:
        split, meant = MEANT[option, data][each.name]
        rows = rows_of_set(each, Store(tmp_path / "store"), shared_data, tiny_teacher)
        file = pq.read_table(shared_data / each.data["folder"]["path"] / f"{split}.parquet")
        names = json.loads(file.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        gold = [names[file["label"][int(place)].as_py()] for place in rows.index]
        assert len(gold) == 200 and set(gold) == set(meant.values())
        sure = np.array([[meant[ours] == label for ours in own.labels] for label in gold], dtype=np.float32)
        assert scores(each.task, rows, each.read_as(sure)) == {"accuracy": 1.0}
        assert scores(each.task, rows, each.read_as(1.0 - sure)) == {"accuracy": 0.0}
