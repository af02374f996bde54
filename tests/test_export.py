"""An exported student: what transformers alone makes of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

import kdbench
from kdbench.data.source import choose
from kdbench.error import KdbenchError
from kdbench.export import export, main
from kdbench.store import Store

REGRESSION = [
    "data.name=values",
    "data.kind=regression",
    "data.label=value",
    "data.labels=[]",
    "data.metrics=[pearson]",
]


@pytest.fixture(scope="module", params=["classification", "pairs", "regression"])
def record(request: pytest.FixtureRequest, store: Store, narrow_in: Callable[..., list[str]]) -> dict[str, Any]:
    """A finished run; the student is narrower than its teacher, so a projection was trained."""
    data = {"classification": [], "pairs": ["data.text=[text,second]"], "regression": REGRESSION}[request.param]
    taught = ["knowledge=hidden", "projection=to_teacher"]
    return kdbench.run(kdbench.compose(narrow_in(store.root, *taught, *data)))


def test_transformers_alone_loads_it_and_predicts_what_the_record_has(
    record: dict[str, Any],
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = export(store, record["signature"], tmp_path / "out")
    capsys.readouterr()
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert not any(report.values())
    assert not caplog.records
    data = record["config"]["data"]
    frame = choose(data).read("validation", Path()).frame
    texts = [list(frame[column]) for column in ([data["text"]] if isinstance(data["text"], str) else data["text"])]
    inputs = tokenizer(*texts, truncation=True, max_length=data["max_length"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model.eval()(**inputs).logits.numpy()
    kept = np.load(store.path("run", record["signature"]) / "predictions.validation.npy")
    np.testing.assert_allclose(logits, kept, atol=1e-5)
    if logits.shape[1] > 1:
        found = float((logits.argmax(axis=1) == frame["label"].to_numpy()).mean())
    else:
        found = float(np.corrcoef(logits[:, 0], frame["value"])[0, 1])
    assert found == pytest.approx(record["metrics"][record["score"]], abs=1e-5)


def test_the_folder_holds_the_student_and_no_more(record: dict[str, Any], store: Store, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = export(store, record["signature"], tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    weights = load_file(folder / "model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == record["student"]["parameters"]["total"]
    assert not [name for name in weights if "projection" in name or "teacher" in name]
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    if record["config"]["data"]["kind"] == "regression":
        assert (config["problem_type"], len(config["id2label"])) == ("regression", 1)
    else:
        assert config["problem_type"] == "single_label_classification"
        assert config["id2label"] == {"0": "nature", "1": "machines"}
        assert config["label2id"] == {"nature": 0, "machines": 1}
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 48


def test_the_model_card_states_the_records_numbers_and_no_path(
    record: dict[str, Any], store: Store, tmp_path: Path, tiny_teacher: Path
) -> None:
    card = (export(store, record["signature"], tmp_path / "out") / "README.md").read_text()
    score = record["score"]
    assert f"| {score} | {record['metrics'][score]:.4f} | {record['teacher']['metrics'][score]:.4f} |" in card
    assert f"{record['student']['parameters']['total']:,} parameters" in card
    assert record["signature"] in card
    assert re.search(r"transfer \(Hidden\(embeddings=True.*\), Uniform.*, ToTeacher\(", card)
    for folder in (tiny_teacher, store.root, tmp_path):
        assert str(folder) not in card
    block = card.split("```python\n")[1].split("```")[0]
    assert f"max_length={record['config']['data']['max_length']}" in block
    compile(block, "README.md", "exec")


def test_a_folder_with_content_is_refused_and_force_keeps_what_is_not_ours(
    record: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KdbenchError, match="is not empty: choose another folder, or add --force"):
        export(store, record["signature"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    export(store, record["signature"], tmp_path, force=True)
    export(store, record["signature"], tmp_path, force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "model.safetensors").is_file()
    with pytest.raises(KdbenchError, match=r"notes\.txt is a file: choose another folder"):
        export(store, record["signature"], tmp_path / "notes.txt", force=True)


def test_a_fault_of_the_disk_leaves_no_half_folder(
    record: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdbench.model_card.model_card", full)
    with pytest.raises(KdbenchError, match=r"cannot be written \(No space left on device\)"):
        export(store, record["signature"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_front(
    record: dict[str, Any],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBENCH_STORE", str(store.root))
    signature = record["signature"]
    monkeypatch.setattr(sys, "argv", ["kdbench-export", signature])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert (tmp_path / "exports" / signature / "config.json").is_file()
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "add --force" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["kdbench-export", "nothing", "--out", "there"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "there").exists()


def test_an_onnx_file_of_a_reader_gives_the_scores_of_both_ends(tmp_path: Path) -> None:
    import onnxruntime
    from transformers import AutoModelForQuestionAnswering

    from kdbench.encoder.load import from_config
    from kdbench.head import SpanHead
    from kdbench.onnx_file import write_onnx

    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    reader = from_config(config, SpanHead()).eval()
    reader.save(tmp_path)
    write_onnx(reader.model, reader, 40, tmp_path)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = torch.arange(18).view(2, 9)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    with torch.inference_mode():
        expected = model(**inputs)
    found = session.run(["start_logits", "end_logits"], {name: values.numpy() for name, values in inputs.items()})
    np.testing.assert_allclose(found[0], expected.start_logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(found[1], expected.end_logits.numpy(), atol=1e-5)


KRONECKER = ["student=kronecker", "initialization=nearest_kronecker", "student.factors.feed_forward.a=[4,2]"]


@pytest.mark.parametrize(
    "student", [[], KRONECKER, ["student=albert", "student.embedding_width=8"]], ids=["bert", "kronecker", "albert"]
)
def test_an_onnx_file_gives_the_same_logits(student: list[str], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """As the folder beside it, for any batch and length; what is factored is as small as in the store."""
    import onnxruntime
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    begin = ["initialization=random"] if "student=albert" in student else []
    record = kdbench.run(kdbench.compose(tiny("method=label", *student, *begin)))
    folder = export(Store(tmp_path / "store"), record["signature"], tmp_path / "out", onnx=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    for texts in (["the river."], ["an engine near the old computer.", "the mountain.", "we found it."]):
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**inputs).logits.numpy()
        named = {each.name for each in session.get_inputs()}
        (found,) = session.run(None, {name: values.numpy() for name, values in inputs.items() if name in named})
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)
    import onnx

    graph = onnx.load(folder / "model.onnx").graph
    numbers = sum(int(np.prod(each.dims)) for each in graph.initializer)
    dense = sum(parameter.numel() for parameter in model.parameters())
    assert numbers < 0.7 * dense if student == KRONECKER else numbers >= 0.9 * dense
