"""kdbench-evaluate: predictions against the record's, other data, and what is refused."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kdbench
from kdbench.data.source import choose
from kdbench.error import KdbenchError
from kdbench.evaluate import main, with_run
from kdbench.evaluation import Request, evaluate_run
from kdbench.finished_run import FinishedRun
from kdbench.store import Store

RTE = ["data.name=glue/rte", "data.text=[text,second]", "data.label=same", "data.labels=[entailment,not_entailment]"]
STSB = ["data.name=glue/stsb", "data.kind=regression", "data.label=value", "data.labels=[]"]
STSB += ["data.metrics=[pearson,spearman]"]


@pytest.fixture(scope="module")
def finished(store: Store, narrow_in: Callable[..., list[str]]) -> Callable[..., FinishedRun]:
    """A finished run of the data that its overrides describe."""

    def compute(*data: str) -> FinishedRun:
        overrides = narrow_in(store.root, "teacher.training.epochs=2", *data)
        return FinishedRun(store, kdbench.run(kdbench.compose(overrides))["signature"])

    return compute


@pytest.fixture(scope="module")
def run(finished: Callable[..., FinishedRun]) -> FinishedRun:
    return finished()


@pytest.fixture(scope="module")
def pairs(finished: Callable[..., FinishedRun]) -> FinishedRun:
    return finished(*RTE)


@pytest.fixture(scope="module")
def regression(finished: Callable[..., FinishedRun]) -> FinishedRun:
    return finished(*STSB)


def request(**options: Any) -> Request:
    return Request(**{"data": None, "data_root": Path(), **options})


def other(run: FinishedRun, **changes: Any) -> dict[str, Any]:
    """The run's own data with something changed."""
    return {**run.record["config"]["data"], **changes}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_predictions_and_metrics_are_the_records(run: FinishedRun, split: str, tmp_path: Path) -> None:
    found = evaluate_run(run, request(split=split, batch_size=7), tmp_path)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    student = np.load(run.folder / f"predictions.{split}.npy")
    teacher = np.load(run.teacher_folder / f"predictions.{split}.npy")
    frame = choose(run.record["config"]["data"]).read(split, Path()).frame
    np.testing.assert_allclose(table[["logit_nature", "logit_machines"]], student, atol=1e-5)
    shares = np.exp(student) / np.exp(student).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table[["probability_nature", "probability_machines"]], shares, atol=1e-5)
    assert list(table["index"]) == list(range(len(frame)))
    assert list(table["label"]) == list(frame["label"])
    assert list(table["prediction"]) == list(student.argmax(axis=1))
    assert list(table["teacher_prediction"]) == list(teacher.argmax(axis=1))
    key = f"{split}/accuracy"
    assert found["metrics"] == {key: pytest.approx(run.record["metrics"][key])}
    assert found["teacher_metrics"] == {key: pytest.approx(run.record["teacher"]["metrics"][key])}
    assert found["agreement"] == pytest.approx((student.argmax(axis=1) == teacher.argmax(axis=1)).mean())
    assert json.loads((tmp_path / "metrics.json").read_text()) == found


def test_a_regression_has_values_and_correlates_with_its_teacher(regression: FinishedRun, tmp_path: Path) -> None:
    found = evaluate_run(regression, request(split="test", submission=True), tmp_path)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table.columns) == ["index", "label", "prediction", "teacher_prediction"]
    assert found["agreement"] == pytest.approx(np.corrcoef(table["prediction"], table["teacher_prediction"])[0, 1])
    assert found["metrics"]["test/pearson"] == pytest.approx(regression.record["metrics"]["test/pearson"], abs=1e-6)
    lines = (tmp_path / "STS-B.tsv").read_text().splitlines()
    values = [float(line.split("\t")[1]) for line in lines[1:]]
    np.testing.assert_allclose(values, table["prediction"].clip(0, 5), atol=5.1e-4)


def test_a_submission_holds_the_predictions(pairs: FinishedRun, tmp_path: Path) -> None:
    evaluate_run(pairs, request(split="test", submission=True, agreement=False), tmp_path)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert "teacher_prediction" not in table
    submitted = pd.read_csv(tmp_path / "RTE.tsv", sep="\t")
    assert list(submitted["index"]) == list(table["index"])
    assert list(submitted["prediction"]) == [("entailment", "not_entailment")[value] for value in table["prediction"]]


def test_other_data_of_the_same_labels_need_only_the_split(run: FinishedRun, tmp_path: Path) -> None:
    frame = choose(run.record["config"]["data"]).read("test", Path()).frame.head(9)
    (tmp_path / "elsewhere").mkdir()
    frame.rename(columns={"text": "sentence"}).to_csv(tmp_path / "elsewhere" / "contrast.csv")
    folder = {"_target_": "kdbench.data.folder.Folder", "path": "elsewhere"}
    data = other(run, name="elsewhere", source="folder", folder=folder, text="sentence")
    data["splits"] = {"train": "train", "validation": "contrast"}
    found = evaluate_run(run, request(data=data, data_root=tmp_path), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    kept = np.load(run.folder / "predictions.test.npy")[:9]
    np.testing.assert_allclose(table[["logit_nature", "logit_machines"]], kept, atol=1e-5)
    assert (found["data"], found["rows"]) == ("elsewhere", 9)


def test_rows_without_labels_are_predicted_and_not_scored(
    run: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = evaluate_run(run, request(data=other(run, label=None), split="test"), tmp_path)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert table["label"].isna().all()
    assert list(table["prediction"]) == list(np.load(run.folder / "predictions.test.npy").argmax(axis=1))
    assert found["metrics"] == {} and found["teacher_metrics"] == {}
    assert found["agreement"] is not None
    assert "no row of the split test of generated has a label" in caplog.text


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {"labels": ["a", "b", "c"], "name": "three"},
            {},
            "data=three has the labels a, b, c, but .* nature, machines",
        ),
        ({"labels": ["machines", "nature"]}, {}, "in the same order"),
        ({"kind": "regression", "labels": [], "metrics": ["pearson"]}, {}, "has numbers for labels, but the student"),
        ({}, {"split": "tset"}, "split=tset is no split of generated, which has .*validation"),
        ({"splits": {"test": "nowhere"}}, {"split": "test"}, "the generated data have no split nowhere"),
        ({}, {"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({}, {"batch_size": "many"}, "batch_size=many must be a whole number"),
        ({}, {"submission": True}, "generated is none of its tasks"),
        ({"max_length": 49}, {}, "data.max_length=49 is longer than the 48 positions .* set data.max_length=32"),
        ({"text": "sentence"}, {}, "there is no column sentence"),
    ],
)
def test_bad_requests_are_refused_and_write_nothing(
    changes: dict[str, Any], options: dict[str, Any], sentence: str, run: FinishedRun, tmp_path: Path
) -> None:
    with pytest.raises(KdbenchError, match=sentence) as caught:
        evaluate_run(run, request(data=other(run, **changes), **options), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_cut_split_is_no_submission(pairs: FinishedRun, tmp_path: Path) -> None:
    data = other(pairs, evaluation_rows=20)
    with pytest.raises(KdbenchError, match="test has been cut to 20"):
        evaluate_run(pairs, request(data=data, split="test", submission=True), tmp_path)


def test_a_fault_of_the_disk_is_one_sentence(run: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KdbenchError, match=r"out=.*file cannot be written \(File exists\): choose another folder"):
        evaluate_run(run, request(), tmp_path / "file")


def test_a_pruned_stage_is_one_sentence(run: FinishedRun, tmp_path: Path) -> None:
    record = {**run.record, "stages": ["0123456789abcdef"]}
    pruned = FinishedRun(run.store, run.signature)
    pruned.__dict__["record"] = record
    with pytest.raises(KdbenchError, match="was built from the stage 0123456789abcdef, which is no longer whole"):
        evaluate_run(pruned, request(), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["abc", "split=test"], ["run='abc'", "split=test"]),
        (["0012"], ["run='0012'"]),
        (["run=abc", "split=test"], ["run=abc", "split=test"]),
        (["--cfg", "job"], ["--cfg", "job"]),
        (["abc", "--cfg", "job"], ["run='abc'", "--cfg", "job"]),
        (["+data.splits.x=y"], ["+data.splits.x=y"]),
        (["seed=1,k=l"], ["run='seed=1,k=l'"]),  # a folder of that name is there
        (["it's"], ["run='it\\'s'"]),
    ],
)
def test_the_first_argument_is_the_run(
    arguments: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed=1,k=l").mkdir()
    assert with_run(arguments) == expected


def front(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | None:
    monkeypatch.setattr(sys, "argv", ["kdbench-evaluate", *arguments, "device=cpu"])
    try:
        main()
    except SystemExit as left:
        return left.code
    return None


@pytest.fixture
def restored_hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a Hydra application changes for its whole process."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    GlobalHydra.instance().clear()


@pytest.mark.usefixtures("restored_hydra")
def test_the_front(run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "outputs" / "seed=1,x=it's"
    job.mkdir(parents=True)
    (job / "run.json").write_text(json.dumps({"store": str(run.store.root), "signature": run.signature, "axes": {}}))
    assert front(monkeypatch, str(job), "split=test", "out=here") is None
    assert json.loads((tmp_path / "here" / "metrics.json").read_text())["run"] == run.signature
    assert front(monkeypatch, run.signature[:6], f"paths.store={run.store.root}", "data=generated") is None
    (written,) = (tmp_path / "outputs" / "evaluations").glob("*/metrics.json")
    assert json.loads(written.read_text())["split"] == "validation"


@pytest.mark.usefixtures("restored_hydra")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "run=nothing is no run in the store"),
        ([], "run has no value: give a run as the first argument"),
        (["x", "splitt=test"], "splitt=test: there is no such key: choose split"),
        (["x", "data=revews"], "data=revews is no option of data"),
    ],
)
def test_the_fronts_refusals_are_one_line_and_exit_status_1(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBENCH_STORE", raising=False)
    assert front(monkeypatch, *arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
