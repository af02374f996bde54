"""Whole runs of matrix-embedding students: what they are taught, what they share, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.check import check
from kdbench.data.source import choose
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.export import export
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
