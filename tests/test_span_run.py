"""Runs of a task whose answers are spans: from a folder of questions to an exported model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import kdbench
from kdbench.config import CONF_DIR
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.evaluation import Request, evaluate_run
from kdbench.export import export
from kdbench.finished_run import FinishedRun
from kdbench.head import ABSENT
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.planning import plan_run
from kdbench.store import Store

Overrides = Callable[..., list[str]]
COMBINERS = sorted({path.stem for path in (CONF_DIR / "combiner").glob("*.yaml")} - {"none"})
TEAM = ["+team.large.teacher={}", "+team.second.teacher={teacher.seed: 7}"]
WORDS = ["the", "river", "was", "near", "an", "old", "mountain", "and", "we", "found", "it", "under", "forest"]


def rows_of(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts of 6 to 30 words; every third has no engine, which is what is asked for."""
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        words = list(random.choice(WORDS, size=random.integers(6, 30)))
        answer: dict[str, list[Any]] = {"text": [], "answer_start": []}
        if number % 3:
            place = int(random.integers(len(words)))
            words[place] = "engine"
            answer = {"text": ["engine"], "answer_start": [len(" ".join([*words[:place], ""]))]}
        rows.append({"question": "what was found", "context": " ".join(words), "answers": answer})
    return rows


@pytest.fixture
def asked(tiny: Overrides, tmp_path: Path) -> Overrides:
    """Overrides for a run on questions in a folder."""
    (tmp_path / "data/squad_v2").mkdir(parents=True)
    for split, count, seed in (("train", 240, 1), ("validation", 60, 2)):
        lines = [json.dumps(row) for row in rows_of(count, seed)]
        (tmp_path / f"data/squad_v2/{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    own = ["data=squad_v2", "data.source=folder", "data.max_length=20", "data.stride=4"]
    own += [f"paths.data={tmp_path / 'data'}"]
    rates = ["teacher.optimizer.lr=1e-2", "teacher.training.epochs=4", "optimizer.lr=1e-2", "training.epochs=4"]
    return lambda *more: [*tiny(), *own, *rates, *more]


def test_a_reader_learns_to_answer_and_can_be_taken_along(asked: Overrides, tmp_path: Path) -> None:
    """Its labels are of windows, its scores of questions; the exported model gives the same scores."""
    record = kdbench.run(kdbench.compose(asked("method=kd")))
    assert record["score"] == "validation/answer_f1"
    for metrics in (record["metrics"], record["teacher"]["metrics"]):
        # Who never answers gets a third, who always does two thirds at best.
        assert metrics["validation/answer_f1"] == metrics["validation/answer_exact_match"] > 0.9
    run = FinishedRun(Store(tmp_path / "store"), record["signature"])
    found = evaluate_run(run, Request(None, tmp_path / "data"), tmp_path / "out")
    assert found["metrics"] == record["metrics"] and found["agreement"] == record["agreement"]["validation"]
    assert found["rows"] == 60
    table = pd.read_parquet(tmp_path / "out/predictions.parquet")
    assert set(table["prediction"]) == {"", "engine"} and table["index"].tolist() == list(range(60))
    assert table["answer_f1"].mean() == pytest.approx(record["metrics"]["validation/answer_f1"])
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = export(run.store, run.signature, tmp_path / "exported")
    model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("what was found", "we found the engine under it", return_tensors="pt")
    with torch.inference_mode():
        scores = model.eval()(**inputs)
    words = inputs["input_ids"][0, scores.start_logits.argmax() : scores.end_logits.argmax() + 1]
    assert tokenizer.decode(words) == "engine"
    assert "not at all" in (folder / "README.md").read_text(encoding="utf-8")


def test_stored_answers_of_a_teacher_teach_like_its_own(asked: Overrides) -> None:
    weights = [
        kdbench.run(kdbench.compose(asked("method=kd", "training.max_steps=6", f"teacher.outputs={outputs}")))
        for outputs in ("live", "cache")
    ]
    one, other = (record["metrics"] for record in weights)
    assert one == other
    histories = [[row["train/loss"] for row in record["history"] if "train/loss" in row] for record in weights]
    np.testing.assert_allclose(*histories, rtol=1e-5)


@pytest.mark.parametrize("combiner", COMBINERS)
def test_a_team_teaches_spans(asked: Overrides, combiner: str) -> None:
    """By every combiner, but for those that need classes."""
    short = ["method=kd", "training.max_steps=2", "teacher.training.max_steps=2"]
    drawn = ["sampling=uniform"] if combiner == "drawn" else []
    cfg = kdbench.compose(asked(*TEAM, f"combiner={combiner}", *drawn, *short))
    if combiner in ("by_uncertainty", "policy"):
        with pytest.raises(ImpossibleError, match="the task is one of spans: choose combiner=mean"):
            kdbench.run(cfg)
    else:
        assert kdbench.run(cfg)["metrics"]


def test_other_texts_are_read_too(asked: Overrides, tmp_path: Path) -> None:
    """Out of distribution: the same questions, all of which have an answer."""
    (tmp_path / "data/xquad_en").mkdir()
    lines = [json.dumps(row) for row in rows_of(30, 3) if row["answers"]["text"]]
    (tmp_path / "data/xquad_en/validation_apart.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = kdbench.run(kdbench.compose(asked("method=kd", "ood=squad_v2_part", "training.max_steps=40")))
    found = record["ood"]["xquad_en"]
    assert found["rows"] == 20 and set(found["metrics"]) == {"answer_f1", "answer_exact_match"}
    # The same rows as a split of the run's own data, whose windows they share: every question has an answer here.
    (tmp_path / "data/squad_v2/test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run = FinishedRun(Store(tmp_path / "store"), record["signature"])
    own = {**record["config"]["data"], "splits": {"test": "test"}, "unanswerable": False}
    again = evaluate_run(run, Request(own, tmp_path / "data", split="test"), tmp_path / "out")
    assert again["metrics"] == {f"test/{name}": value for name, value in found["metrics"].items()}
    assert again["teacher_metrics"] == {f"test/{name}": value for name, value in found["teacher_metrics"].items()}


def test_a_mistake_in_another_set_is_said_before_the_training(asked: Overrides, tmp_path: Path) -> None:
    (tmp_path / "data/xquad_en").mkdir()
    rows = [{**row, "answers": {"text": ["engine"], "answer_start": ["zwei"]}} for row in rows_of(3, 3)]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "data/xquad_en/validation_apart.jsonl").write_text(lines + "\n", encoding="utf-8")
    with pytest.raises(KdbenchError, match=r"row 0 has the answers .* correct the row, or ood\.xquad_en\.data\.label"):
        kdbench.run(kdbench.compose(asked("method=kd", "ood=squad_v2_part")))
    assert not Store(tmp_path / "store").artefacts("teacher")


def test_a_set_without_training_rows_is_refused(asked: Overrides) -> None:
    with pytest.raises(KdbenchError, match=r"squad_v2 has no training rows here: name others with data\.splits\.train"):
        kdbench.run(kdbench.compose(asked("method=kd", "data.splits.train=null")))


def test_a_ready_teacher_without_a_head_of_spans_is_refused(asked: Overrides, tiny_teacher: Path) -> None:
    with pytest.raises(KdbenchError, match=r"brings no head of a model for question answering: .* teacher\.train=true"):
        kdbench.run(kdbench.compose(asked("method=kd", "teacher.train=false", f"teacher.model={tiny_teacher}")))


def test_even_labels_are_spread_over_real_tokens_alone() -> None:
    """Label smoothing is blind to padding: closed form, with and without more of it."""
    scores = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))
    scores[1, :, 3:] = ABSENT
    gold = torch.tensor([[1, 2], [0, -1]])
    padded = torch.cat([scores, torch.full((2, 2, 4), ABSENT)], dim=-1)
    expected = []
    for row, tokens in ((0, 5), (1, 3)):
        logged = scores[row, :, :tokens].log_softmax(dim=-1)
        both = [0.9 * -logged[end, gold[row, end]] + 0.1 * -logged[end].mean() for end in (0, 1) if gold[row, end] >= 0]
        expected.append(sum(both) / 2)
    for given in (scores, padded):
        torch.testing.assert_close(cross_entropy(given, gold, label_smoothing=0.1), torch.stack(expected))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.text=[question,'{context}']"], r"data\.text=.* must be the columns of the question and of the text"),
        (["data.labels=[yes,no]"], r"squad_v2 answers with a span of its text: set data\.labels=\[\]"),
        (["data.metrics=[accuracy]"], r"accuracy is no metric of a span; choose among answer_exact_match, answer_f1"),
        (["data.stride=-1"], r"data\.stride=-1 must be a whole number of at least 0"),
        (["data.unanswerable=maybe"], r"data\.unanswerable=maybe"),
        (["data.format=cloze"], r"data\.format=cloze answers with a word, and squad_v2 \(span\) has no such answers"),
        (["ood=rte"], r"is of kind classification, but squad_v2 of kind span"),
        (["knowledge=logits", "knowledge.probability_shift=true"], "swaps the logits of two classes, but a span has"),
        (["knowledge=logit_lens"], r"terms\.transfer reads lens of the student, which that architecture"),
        (
            ["student=kronecker", "student.factors={attention: null, embedding: 2, pooler: {a: [2, 2]}}"],
            r"student\.factors\.pooler: a student that answers by spans has no pooler: set it to null",
        ),
        (["data.stride=20"], r"data\.stride=20 must be smaller than data\.max_length=20"),
    ],
)
def test_what_spans_cannot_do_is_refused(asked: Overrides, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises((KdbenchError, ImpossibleError), match=message):
        plan_run(kdbench.compose(asked(*more)), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"text": ["engine"], "answer_start": [1]}}, r"row 5 has the answer 'engine', which does not"),
        ({"answers": "engine"}, r"row 5 has the answers 'engine', which must be"),
        ({"answers": {"text": ["engine"], "answer_start": [2.5]}}, r"row 5 has the answers .* must be"),
        ({"answers": {"text": "engine", "answer_start": [2]}}, r"row 5 has the answers .* must be"),
        ({"answers": {"text": [""], "answer_start": [0]}}, r"row 5 has the answers .* must be"),
        ({"context": None}, r"row 5 has no text in column context"),
    ],
)
def test_a_row_that_cannot_be_read_is_told(
    asked: Overrides, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    rows = rows_of(20, 1)
    rows[5] |= change
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in rows[0]})
    path = tmp_path / "data/squad_v2/train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")) + "\n", encoding="utf-8")
    with pytest.raises(KdbenchError, match=message):
        kdbench.run(kdbench.compose(asked("method=kd")))
