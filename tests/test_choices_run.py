"""Whole runs on rows that choose between answers of their own, by a head and by words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import kdbench
from kdbench.data.batch import Batch, collate
from kdbench.data.tokenised import tokenised
from kdbench.export import export
from kdbench.finished_run import FinishedRun
from kdbench.head import ABSENT
from kdbench.outputs import Taps
from kdbench.store import Store

Overrides = Callable[..., list[str]]
TOPICS = (["river", "mountain", "forest"], ["engine", "machine", "computer"])
CORPUS = ["corpus=generated", "teacher.language.train=true", "teacher.language.training.epochs=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COPA's columns with a rule: the right choice is of the premise's topic."""
    root = tmp_path_factory.mktemp("data")
    (root / "super_glue/copa").mkdir(parents=True)
    random = Random(0)
    for split, rows in (("train", 96), ("validation", 32)):
        table = []
        for place in range(rows):
            topic, label = TOPICS[place % 2], random.randrange(2)
            pair = [random.choice(topic), random.choice(TOPICS[1 - place % 2])]
            choices = [f"we found the {word}." for word in (pair if label == 0 else pair[::-1])]
            premise = f"the {random.choice(topic)} was near the {random.choice(topic)}."
            table.append({"premise": premise, "choice1": choices[0], "choice2": choices[1],
                          "question": random.choice(["cause", "effect"]), "label": label})  # fmt: skip
        pd.DataFrame(table).to_csv(root / "super_glue/copa" / f"{split}.csv", index=False)
    return root


@pytest.fixture(scope="module", params=["head", "cloze"])
def run(request: pytest.FixtureRequest, tiny_in: Overrides, folder: Path, store: Store) -> FinishedRun:
    form = request.param
    copa = ["data=super_glue/copa", "data.source=folder", f"paths.data={folder}", f"data.format={form}"]
    rest = [override for override in tiny_in(store.root) if not override.startswith("data=")]
    record = kdbench.run(
        kdbench.compose([*copa, *(CORPUS if form == "cloze" else []), *rest, "method=kd", "knowledge=hidden"])
    )
    return FinishedRun(store, record["signature"])


def split_of(run: FinishedRun, folder: Path) -> Any:
    return tokenised(run.store, run.record["config"]["data"], folder, run.tokenizer_folder)["validation"]


def test_a_run_scores_one_answer_a_row(run: FinishedRun, folder: Path) -> None:
    kept = np.load(run.folder / "predictions.validation.npy")
    split = split_of(run, folder)
    assert kept.shape == (32, 2) and split.choices == 2 and len(split.lengths) == 64
    right = (kept.argmax(1) == split.labels).mean()
    assert run.record["metrics"]["validation/accuracy"] == pytest.approx(right)
    assert 0 <= run.record["agreement"]["validation"] <= 1


def test_a_score_is_the_sequence_s_own(run: FinishedRun, folder: Path) -> None:
    """Whatever the other choice and the other rows are; and a micro-batch holds whole rows."""
    split, model = split_of(run, folder), run.student()
    batch = collate(split, np.arange(6), run.tokenizer.pad_token_id)
    assert len(batch) == 6 and batch.choices == 2 and len(batch.input_ids) == 12
    with torch.inference_mode():
        together = model(batch, Taps(logits=True)).logits
        parts = torch.cat([model(part, Taps(logits=True)).logits for part in batch.split(4)])
        packed = model(
            collate(split, np.arange(6), run.tokenizer.pad_token_id, unpadded=True), Taps(logits=True)
        ).logits
    torch.testing.assert_close(parts, together)
    torch.testing.assert_close(packed, together)


def test_an_answer_that_a_row_does_not_have_is_never_chosen(run: FinishedRun, folder: Path) -> None:
    split, model = split_of(run, folder), run.student()
    batch = collate(split, np.arange(3), run.tokenizer.pad_token_id)
    batch.attention_mask[1, 1:] = False
    if batch.words is not None:
        batch.words[1] = -1
    with torch.inference_mode():
        logits = model(batch, Taps(logits=True)).logits
    assert logits[0, 1] == ABSENT and bool((logits[0, 0] > ABSENT) & (logits[1:] > ABSENT).all())


def test_it_is_exported_for_multiple_choice_or_as_a_language_model(run: FinishedRun, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoModelForMultipleChoice

    out = export(run.store, run.signature, tmp_path / "out")
    said: dict[str, Any] = {}
    code = (out / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    exec(code.replace('"."', repr(str(out))), said)
    assert len(said["scores"] if "scores" in said else said["logits"][0]) == 2
    cloze = run.record["config"]["data"]["format"] == "cloze"
    loader = AutoModelForMaskedLM if cloze else AutoModelForMultipleChoice
    model, report = loader.from_pretrained(out, output_loading_info=True)
    assert not any(report.values()) and loader.__name__ in (out / "README.md").read_text()
    if not cloze:
        ids = torch.tensor([[[2, 9, 8, 3], [2, 9, 7, 3]]])
        with torch.inference_mode():
            assert model.eval()(input_ids=ids).logits.shape == (1, 2)


def test_an_answer_is_as_likely_as_its_words_together(run: FinishedRun, folder: Path) -> None:
    """The sum of the log-probabilities of its words by transformers, divided by their number to the penalty."""
    if run.record["config"]["data"]["format"] == "head":
        return
    split, model = split_of(run, folder), run.student()
    batch = collate(split, np.arange(4), run.tokenizer.pad_token_id)
    assert batch.words is not None
    penalty = run.record["config"]["data"]["cloze"]["length_penalty"]
    with torch.inference_mode():
        found = model(batch, Taps(logits=True)).logits
        every = model.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.log_softmax(-1)
    assert penalty == 1.0 and found.shape == (4, 2)
    for sequence, words in enumerate(batch.words):
        places = (words >= 0).nonzero()[:, 0]
        score = sum(float(every[sequence, place, words[place]]) for place in places) / len(places) ** penalty
        assert found[sequence // 2, sequence % 2].item() == pytest.approx(score, rel=1e-4)


def rows_of_choices() -> Batch:
    """Three rows with two sequences each, of unlike lengths."""
    ids = torch.randint(5, 30, (6, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(7)[None] < torch.tensor([7, 5, 4, 6, 7, 3])[:, None]
    return Batch(ids * mask, mask, torch.zeros_like(ids), torch.zeros(3, dtype=torch.long), torch.arange(3))


@pytest.mark.parametrize("student", ["bert", "albert"])
def test_a_student_scores_choices_as_transformers_does(student: str) -> None:
    from kdbench.head import ChoiceHead
    from kdbench.student.albert import albert
    from kdbench.student.bert import bert

    torch.manual_seed(0)
    sizes = {"layers": 2, "width": 8, "heads": 2, "intermediate": 16, "vocabulary": 30}
    model = {"bert": bert, "albert": albert}[student](**sizes, head=ChoiceHead(2)).eval()  # type: ignore[operator]
    batch = rows_of_choices()
    with torch.inference_mode():
        found = model(batch, Taps(logits=True)).logits
        ids, mask = (values.view(3, 2, -1) for values in (batch.input_ids, batch.attention_mask))
        expected = model.model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found, expected)
