"""Whole runs of matrix-embedding students: what they are taught, what they share, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.check import check
from kdbench.data.batch import Batch
from kdbench.data.source import choose
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.export import export
from kdbench.finished_run import FinishedRun
from kdbench.outputs import Taps
from kdbench.planning import plan_run
from kdbench.store import Store

Overrides = Callable[..., list[str]]


@pytest.fixture
def cmow(tiny_teacher: Path, tmp_path: Path) -> Overrides:
    def overrides(*more: str) -> list[str]:
        return [
            "data=generated",
            "teacher=folder",
            f"teacher.model={tiny_teacher}",
            "teacher.training.epochs=1",
            "student=cmow",
            "student.matrix_width=4",
            "student.vector_width=16",
            "student.classifier.hidden=8",
            "training.epochs=1",
            "optimizer.lr=1e-2",
            "device=cpu",
            f"paths.store={tmp_path / 'store'}",
            *more,
        ]

    return overrides


@pytest.mark.parametrize("method", ["label", "cmow_task"])
def test_a_run(cmow: Overrides, method: str) -> None:
    record = kdbench.run(kdbench.compose(cmow(f"method={method}")))
    assert record["metrics"]["validation/accuracy"] > 0.9, "the topic of a generated sentence is in its words"
    assert record["student"]["parameters"]["encoder"] == 0 < record["student"]["parameters"]["embeddings"]


def test_all_weight_on_one_of_the_two_losses_is_that_loss_alone(cmow: Overrides, tmp_path: Path) -> None:
    """With alpha = 1 the papers' task loss is the cross-entropy of gold labels, with alpha = 0 no label is read."""

    def trained(*overrides: str) -> dict[str, torch.Tensor]:
        record = kdbench.run(kdbench.compose(cmow("optimizer.weight_decay=0.0", *overrides)))
        return load_file(tmp_path / "store" / "stage" / record["stages"][-1] / "student.safetensors")

    gold, teacher = "stages.task.terms.label.weight", "stages.task.terms.soft.weight"
    at_one = "stages.task.terms.soft.objective.temperature=1.0"
    for both, alone in (
        ((f"{gold}=1.0", f"{teacher}=0.0"), ("method=label",)),
        ((f"{gold}=0.0", f"{teacher}=1.0"), ("method=soft", at_one)),
    ):
        mixed, single = trained("method=cmow_task", *both), trained(*alone)
        assert mixed.keys() == single.keys()
        for name, value in mixed.items():
            torch.testing.assert_close(value, single[name], msg=name)


FORMS = {
    "pairs": ["data.text=[text,second]"],
    "joint pairs": ["data.text=[text,second]", "student.pair=joint"],
    "single texts": [],
    "lstm": ["data.text=[text,second]", "student/classifier=bilstm", "student.classifier.hidden=5"],
    "fewer words": [
        "vocabulary=frequent",
        "vocabulary.multiple=8",
        "corpus=generated",
        "vocabulary.reserved=[]",
        "vocabulary.substitute=unknown",
    ],
}


WITH_GRAPH = ("pairs", "lstm")
"""Products of all words, and of every beginning."""


@pytest.mark.parametrize("form", FORMS)
def test_the_folder_and_the_onnx_file_say_what_the_record_has(cmow: Overrides, tmp_path: Path, form: str) -> None:
    """For any batch and length; kdbench loads the folder without a store, and begins another student with it."""
    import onnxruntime
    from transformers import AutoTokenizer

    overrides = [each for each in cmow("method=label") if form != "lstm" or "classifier.hidden=8" not in each]
    record = kdbench.run(kdbench.compose([*overrides, *FORMS[form]]))
    store = Store(tmp_path / "store")
    folder = export(store, record["signature"], tmp_path / "out", onnx=form in WITH_GRAPH)
    student, tokenizer = kdbench.load_student(folder), AutoTokenizer.from_pretrained(folder)
    data = record["config"]["data"]
    frame = choose(data).read("validation", Path()).frame
    names = [data["text"]] if isinstance(data["text"], str) else data["text"]
    kept = np.load(store.path("run", record["signature"]) / "predictions.validation.npy")
    session = None
    if form in WITH_GRAPH:
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    long = [" ".join(f"{text} ." for text in frame[name][:60]) for name in names]
    for rows in (range(len(frame)), range(3), range(5, 6), None):
        columns = [[text] for text in long] if rows is None else [[frame[name][row] for row in rows] for name in names]
        inputs = tokenizer(*columns, padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = student(**inputs).logits.numpy()
        if rows is None:
            assert inputs["input_ids"].shape[1] > 600, "no length was drawn into the graph"
        else:
            np.testing.assert_allclose(logits, kept[list(rows)], atol=1e-5)
        if session is not None:
            wanted = {each.name for each in session.get_inputs()}
            (found,) = session.run(None, {name: values.numpy() for name, values in inputs.items() if name in wanted})
            np.testing.assert_allclose(found, logits, atol=1e-5)
    card = (folder / "README.md").read_text()
    assert "kdbench.load_student(folder)" in card and "without layers" in card
    compile(card.split("```python\n")[1].split("```")[0], "README.md", "exec")


def written(folder: Path, name: str, row: Callable[[int], dict[str, Any]]) -> list[str]:
    """Both splits of a data set as files, and the overrides that read them."""
    for split, places in (("train", range(24)), ("validation", range(24, 32))):
        path = folder / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row(place)) + "\n" for place in places), encoding="utf-8")
    return [f"data={name}", "data.source=folder", f"paths.data={folder}"]


def row_of_choices(place: int) -> dict[str, Any]:
    choices = {"choice1": "the river was old.", "choice2": "we found the engine under it."}
    return {"premise": "the river" + " was near" * (place % 4), **choices, "question": "cause", "label": place % 2}


def row_of_spans(place: int) -> dict[str, Any]:
    before = " ".join(["the river was near"] * (1 + place % 3))
    answers = {"text": ["engine"], "answer_start": [len(before) + 1]}
    return {"question": "what was found", "context": f"{before} engine and forest", "answers": answers}


@pytest.fixture(params=["value", "choices", "spans", "words", "answers"])
def of_head(request: pytest.FixtureRequest, cmow: Overrides, tmp_path: Path) -> FinishedRun:
    """A finished run with data that ask for this head."""
    head, corpus = request.param, ["corpus=generated", "teacher.language.training.epochs=1"]
    values = ["data.kind=regression", "data.label=value", "data.labels=[]", "data.metrics=[pearson]"]
    data = {
        "value": ["data=generated", "data.text=[text,second]", *values],
        "choices": written(tmp_path / "data", "super_glue/copa", row_of_choices),
        "spans": [*written(tmp_path / "data", "squad_v2", row_of_spans), "data.max_length=20", "data.stride=4"],
        "words": ["data=corpus", *corpus],
        "answers": ["data=generated", "data.format=cloze", "teacher.language.train=true", *corpus],
    }[head]
    method = "method=mlm" if head == "words" else "method=label"
    record = kdbench.run(kdbench.compose([*cmow(method, "student.std=0.3")[1:], *data]))
    return FinishedRun(Store(tmp_path / "store"), record["signature"])


def in_memory(run: FinishedRun, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the run's own student says of rows, (B, S), or (B, K, S), under the names that transformers uses."""
    ids, mask, types = (inputs[name].flatten(0, -2) for name in ("input_ids", "attention_mask", "token_type_ids"))
    index = torch.arange(len(inputs["input_ids"]))
    student, batch = run.student(), Batch(ids, mask.bool(), types, torch.zeros_like(index), index)
    if student.shape.decoder_width:
        said = student(batch, Taps(decoder_inputs=True))
        return {"logits": said.decoder(said.decoder_inputs)}
    logits = student(batch, Taps(logits=True)).logits
    return {"start_logits": logits[:, 0], "end_logits": logits[:, 1]} if student.shape.spans else {"logits": logits}


FIRST = ["the river.", "we found it near the mountain.", "an engine."]
SECOND = ["we found an old engine.", "it was the river.", "the computer was near it and near the forest."]


def test_every_head_says_the_same_in_memory_in_the_folder_and_in_the_onnx_file(
    of_head: FinishedRun, tmp_path: Path
) -> None:
    """For rows of two texts, or of two choices of two texts each, padded and not."""
    import onnxruntime
    from transformers import AutoTokenizer

    folder = export(of_head.store, of_head.signature, tmp_path / "out", onnx=True)
    student, tokenizer = kdbench.load_student(folder), AutoTokenizer.from_pretrained(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    choices = 2 if of_head.task.choices else 1
    for rows in (3, 1):
        texts = [(text * choices)[: rows * choices] for text in (FIRST, SECOND)]
        inputs = dict(tokenizer(*texts, padding=True, return_tensors="pt", return_token_type_ids=True))
        if choices > 1:
            inputs = {name: values.view(rows, choices, -1) for name, values in inputs.items()}
        taken = {each.name for each in session.get_inputs()}
        with torch.inference_mode():
            expected, loaded = in_memory(of_head, inputs), student(**inputs)
        run = session.run(list(expected), {name: inputs[name].numpy() for name in taken})
        for values, (name, exact) in zip(run, expected.items(), strict=True):
            assert exact.shape[0] == rows and (rows == 1 or exact.std() > 0.01)
            np.testing.assert_allclose(loaded[name].numpy(), exact.numpy(), atol=1e-6)
            np.testing.assert_allclose(values, exact.numpy(), atol=1e-5)
    card = (folder / "README.md").read_text(encoding="utf-8")
    said: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("```")[0].replace('"."', repr(str(folder))), said)
    answer = next(said[name] for name in ("answer", "logits", "words") if name in said)
    assert isinstance(answer, str) or len(answer) == 1, "the card tells how to get one"


@pytest.mark.parametrize("form", ["pairs", "joint pairs", "single texts", "fewer words"])
def test_a_tokenizer_that_gives_no_types_unasked_is_exported_as_one_that_does(
    cmow: Overrides, tmp_path: Path, tiny_teacher: Path, form: str
) -> None:
    """As DistilBERT's. A student that reads two texts apart is never given them without; others need no types."""
    from transformers import AutoTokenizer

    teacher, names = tmp_path / "teacher", ["input_ids", "attention_mask"]
    shutil.copytree(tiny_teacher, teacher)
    config = json.loads((teacher / "tokenizer_config.json").read_text())
    (teacher / "tokenizer_config.json").write_text(json.dumps({**config, "model_input_names": names}))
    texts = ["data.text=[text,second]"] if form == "fewer words" else []
    overrides = cmow("method=label", *FORMS[form], *texts, f"teacher.model={teacher}")
    record = kdbench.run(kdbench.compose(overrides))
    folder = export(Store(tmp_path / "store"), record["signature"], tmp_path / "out")
    student, tokenizer = kdbench.load_student(folder), AutoTokenizer.from_pretrained(folder)
    data = record["config"]["data"]
    frame = choose(data).read("validation", Path()).frame
    columns = [data["text"]] if isinstance(data["text"], str) else data["text"]
    inputs = dict(tokenizer(*(list(frame[name]) for name in columns), padding=True, return_tensors="pt"))
    apart = form in ("pairs", "fewer words")
    assert ("token_type_ids" in inputs) == apart
    kept = np.load(Store(tmp_path / "store").path("run", record["signature"]) / "predictions.validation.npy")
    with torch.inference_mode():
        np.testing.assert_allclose(student(**inputs).logits.numpy(), kept, atol=1e-5)
        if apart:
            with pytest.raises(KdbenchError, match=r"reads two texts apart, .*: give it what its own"):
                student(**{name: inputs[name] for name in names})


def test_a_student_begins_as_an_exported_one(cmow: Overrides, tmp_path: Path) -> None:
    first = kdbench.run(kdbench.compose(cmow("method=label")))
    folder = export(Store(tmp_path / "store"), first["signature"], tmp_path / "out")
    begin = ["initialization=pretrained", f"initialization.model={folder}"]
    other = kdbench.run(kdbench.compose(cmow("method=label", *begin, "optimizer.lr=1e-12", "student.pair=joint")))
    weights = [
        load_file(tmp_path / "store" / "stage" / record["stages"][-1] / "student.safetensors")
        for record in (first, other)
    ]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-6) or not name.startswith("body.")
    with pytest.raises(ImpossibleError, match="choose the student"):
        kdbench.run(kdbench.compose(cmow("method=label", *begin, "student.encoder=cmow")))


def test_a_transformer_is_refused_as_its_beginning_before_a_teacher_is_trained(
    cmow: Overrides, tiny_teacher: Path
) -> None:
    begin = ["initialization=pretrained", f"initialization.model={tiny_teacher}"]
    with pytest.raises(ImpossibleError, match="is a Hugging Face encoder, which this student is not: give a folder"):
        check(kdbench.compose(cmow("method=cmow_task", *begin)))


def test_what_is_above_the_encoder_is_no_part_of_a_corpus_stage(cmow: Overrides, tmp_path: Path) -> None:
    """Students that differ in classifier and pair share it; its dropout acts there too."""
    base = cmow("method=cmow_two_stage", "data.text=[text,second]", "corpus=generated")

    def signatures(*more: str) -> list[str]:
        return plan_run(kdbench.compose([*base, *more]), Store(tmp_path / "store")).signatures("stage")

    own = signatures()
    for other in ("student.pair=joint", "student.classifier.hidden=9"):
        general, task = signatures(other)
        assert general == own[0] and task != own[1]
    assert signatures("student.dropout=0.3")[0] != own[0]


def test_a_row_of_one_text_may_be_a_pair_with_an_empty_one(cmow: Overrides) -> None:
    record = kdbench.run(kdbench.compose(cmow("method=label", "student.always_pair=true")))
    assert record["metrics"]["validation/accuracy"] > 0.9


def test_a_norm_of_batches_does_not_see_what_is_only_checked(cmow: Overrides, tmp_path: Path) -> None:
    image = ["student/classifier=cnn", "student.vector_width=16", "student.classifier.dropout=0.0"]
    own = [each for each in cmow("method=label") if "classifier.hidden" not in each]
    records = [
        kdbench.run(
            kdbench.compose([*own, *image, f"paths.store={tmp_path / str(checked)}", f"guards.preflight={checked}"])
        )
        for checked in ("true", "false")
    ]
    assert records[0]["history"] == records[1]["history"]


def test_a_folder_that_names_other_code_is_not_built(cmow: Overrides, tmp_path: Path) -> None:
    record = kdbench.run(kdbench.compose(cmow("method=label")))
    folder = export(Store(tmp_path / "store"), record["signature"], tmp_path / "out")
    content = json.loads((folder / "config.json").read_text())
    content["student"]["classifier"]["_target_"] = "os.system"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(KdbenchError, match=r"os\.system, which is no part of a student"):
        kdbench.load_student(folder)
    for foreign in ("kdbench.cmow.classifier.bilstm.torch.hub.load", "kdbench.cmow.classifier.mlp.nn", "kdbench.run"):
        content["student"]["classifier"]["_target_"] = foreign
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(KdbenchError, match="which is no part of a student"):
            kdbench.load_student(folder)
    content["student"]["classifier"]["_target_"] = "kdbench.cmow.classifier.mlp.Mlp"
    (folder / "config.json").write_text(
        json.dumps(content | {"student": content["student"] | {"std": [{"_target_": "x"}]}})
    )
    with pytest.raises(KdbenchError, match="names more to be built"):
        kdbench.load_student(folder)
    (folder / "model.safetensors").write_bytes(b"")
    content["student"]["classifier"]["_target_"] = "kdbench.cmow.classifier.mlp.Mlp"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(KdbenchError, match="is damaged"):
        kdbench.load_student(folder)
    with pytest.raises(KdbenchError, match="no folder of a kdbench student"):
        kdbench.load_student(tmp_path)
