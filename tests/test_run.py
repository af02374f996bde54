"""Whole runs on the generated data: the record, the store, the seeds, and what must not change a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.data.batch import Batch
from kdbench.encoder.base import Encoder
from kdbench.fused import relation_kl
from kdbench.model import weights_digest
from kdbench.outputs import ModelOutputs, Taps
from kdbench.store import Store

Overrides = Callable[..., list[str]]


def weights(store: Path, record: dict) -> dict[str, torch.Tensor]:
    return load_file(store / "stage" / record["stages"][-1] / "student.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_a_run_leaves_a_whole_record(tiny: Overrides, tmp_path: Path) -> None:
    record = kdbench.run(kdbench.compose(tiny("knowledge=hidden", "method=unified_soft")))
    assert record["score"] == "validation/accuracy"
    assert set(record["metrics"]) == {"validation/accuracy", "test/accuracy"}
    assert record["axes"]["knowledge"] == "hidden" and record["axes"]["seed"] == "1"
    assert {entry["stage"] for entry in record["history"]} == {"task"}
    terms = [entry for entry in record["history"] if "train/loss" in entry]
    assert terms and all(
        entry["train/loss"] == pytest.approx(sum(entry[f"train/term/{name}"] for name in ("label", "soft", "transfer")))
        for entry in terms
    )
    assert record["student"]["parameters"]["total"] > record["student"]["parameters"]["encoder"] > 0
    assert {artefact.kind for artefact in Store(tmp_path / "store").artefacts()} == {"data", "teacher", "stage", "run"}


def test_the_same_question_is_answered_from_the_store(tiny: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kdbench.run(kdbench.compose(tiny()))
    monkeypatch.setattr("kdbench.pipeline._compute", lambda *_: pytest.fail("computed again"))
    assert kdbench.run(kdbench.compose(tiny("training.log_every_steps=3", "logger=csv"))) == first


def test_a_shared_teacher_is_trained_once(tiny: Overrides, tmp_path: Path) -> None:
    for seed in (1, 2):
        kdbench.run(kdbench.compose(tiny(f"seed={seed}", "method=label")))
    kinds = [artefact.kind for artefact in Store(tmp_path / "store").artefacts()]
    assert kinds.count("teacher") == kinds.count("data") == 1
    assert kinds.count("stage") == kinds.count("run") == 2


def test_a_run_after_others_in_one_process_equals_it_alone(tiny: Overrides, tmp_path: Path) -> None:
    """Nothing leaks from one job of a sweep to the next: seeds, modes, threads."""
    alone = kdbench.run(kdbench.compose(tiny(f"paths.store={tmp_path / 'alone'}")))
    kdbench.run(kdbench.compose(tiny("seed=5", "method=unified_soft", "knowledge=attention")))
    torch.randn(7)
    after = kdbench.run(kdbench.compose(tiny()))
    assert after["metrics"] == alone["metrics"] and after["history"] == alone["history"]
    assert same(weights(tmp_path / "store", after), weights(tmp_path / "alone", alone))


def test_seeds_change_the_student(tiny: Overrides, tmp_path: Path) -> None:
    one, two = (kdbench.run(kdbench.compose(tiny("initialization=random", f"seed={seed}"))) for seed in (1, 2))
    assert not same(weights(tmp_path / "store", one), weights(tmp_path / "store", two))


def test_a_term_of_weight_zero_is_plain_training_bit_for_bit(tiny: Overrides, tmp_path: Path) -> None:
    plain = kdbench.run(kdbench.compose(tiny("method=label", f"paths.store={tmp_path / 'plain'}")))
    off = kdbench.run(
        kdbench.compose(tiny("method=unified", "knowledge=hidden", "stages.task.terms.transfer.weight=0"))
    )
    assert plain["signature"] == off["signature"] and plain["metrics"] == off["metrics"]


def test_a_projection_does_not_shift_what_the_student_draws(tiny: Overrides, tmp_path: Path) -> None:
    """The first weights of the control and of the distilled student are the same numbers."""
    narrow = ["student.width=16", "initialization=random", "optimizer.lr=1e-12", "optimizer.weight_decay=0"]
    control = kdbench.run(kdbench.compose(tiny("method=label", *narrow)))
    distilled = kdbench.run(kdbench.compose(tiny("knowledge=hidden", "projection=to_teacher", *narrow)))
    left, right = weights(tmp_path / "store", control), weights(tmp_path / "store", distilled)
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=1e-6, rtol=0)


def test_micro_batches_do_not_change_the_result(tiny: Overrides, tmp_path: Path) -> None:
    exact = ["student.dropout=0", "knowledge=hidden", "method=unified_soft"]
    whole = kdbench.run(kdbench.compose(tiny(*exact)))
    parts = kdbench.run(kdbench.compose(tiny(*exact, "training.accumulate=4")))
    assert whole["signature"] != parts["signature"]
    left, right = weights(tmp_path / "store", whole), weights(tmp_path / "store", parts)
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=2e-5, rtol=1e-3)


def test_leaving_the_padding_out_does_not_change_the_result(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the last bits and the dropout masks, for whose sake it is another run all the same."""
    counted: list[bool] = []
    whole = Encoder.forward

    def forward(model: Encoder, batch: Batch, taps: Taps) -> ModelOutputs:
        counted.append(batch.packing is not None)
        return whole(model, batch, taps)

    monkeypatch.setattr(Encoder, "forward", forward)
    exact = ["student.dropout=0", "knowledge=hidden", "method=unified_soft", "training.batching=exact"]
    records = []
    for unpadded in ("true", "false"):
        counted.clear()
        records.append(kdbench.run(kdbench.compose(tiny(*exact, f"training.unpadded={unpadded}"))))
        assert any(counted) == (unpadded == "true")
    left, right = records
    assert left["signature"] != right["signature"] and left["teacher"] == right["teacher"]
    one, other = (weights(tmp_path / "store", record) for record in records)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=2e-5, rtol=1e-3)


def test_the_teacher_is_never_changed_by_its_student(tiny: Overrides, tmp_path: Path) -> None:
    first = kdbench.run(kdbench.compose(tiny("method=label")))
    folder = tmp_path / "store" / "teacher" / first["teacher"]["signature"]
    before = load_file(folder / "model.safetensors")
    kdbench.run(kdbench.compose(tiny("knowledge=hidden")))
    assert same(before, load_file(folder / "model.safetensors"))


def test_a_regression_runs_with_the_objectives_it_can_have(tiny: Overrides) -> None:
    cfg = kdbench.compose(
        tiny(
            "method=unified_soft",
            "knowledge=attention",
            "data.kind=regression",
            "data.labels=[]",
            "data.metrics=[pearson,spearman]",
        )
    )
    terms = cfg.stages.task.terms
    assert [terms[name].objective._target_.rpartition(".")[2] for name in terms] == ["mse", "mse", "mse"]
    record = kdbench.run(cfg)
    assert set(record["metrics"]) >= {"validation/pearson", "validation/spearman"}
    assert -1.0 <= record["agreement"]["validation"] <= 1.0


def test_early_stopping_keeps_the_best_weights(tiny: Overrides) -> None:
    record = kdbench.run(
        kdbench.compose(tiny("training.epochs=20", "training.patience=2", "optimizer.lr=3e-3", "method=label"))
    )
    scores = [entry["validation/accuracy"] for entry in record["history"] if "validation/accuracy" in entry]
    assert len(scores) < 21
    assert record["metrics"]["validation/accuracy"] == max(scores[1:])
    assert max(scores[-2:]) <= max(scores[1:-2])


def test_fused_arithmetic_teaches_the_same_up_to_rounding(tiny: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `fused=false` uses none of it."""
    calls: list[str] = []
    fused = relation_kl.relation_kl

    def counted(*sides: Any, **options: Any) -> torch.Tensor:
        calls.append("fused")
        return fused(*sides, **options)

    monkeypatch.setattr(relation_kl, "relation_kl", counted)
    losses = []
    for switch in ("true", "false"):
        calls.clear()
        record = kdbench.run(kdbench.compose(tiny("knowledge=value_relation", f"fused={switch}")))
        found = [entry["train/term/transfer"] for entry in record["history"] if "train/term/transfer" in entry]
        losses.append(found)
        assert bool(calls) == (switch == "true")
    assert losses[0] and losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_rows_without_a_label_are_distilled_on(tiny: Overrides, tmp_path: Path) -> None:
    """The teacher learns from the labelled half; the student's soft labels cover all rows, its label term one half."""
    data = tmp_path / "data" / "mine"
    data.mkdir(parents=True)
    words = ("river forest", "engine motor")
    for split, rows in (("train", 64), ("validation", 16)):
        lines = [
            json.dumps({"text": words[row % 2], "label": row % 2 if split == "validation" or row % 4 < 2 else -1})
            for row in range(rows)
        ]
        (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mine = ["data.source=folder", "data.folder.path=mine", f"paths.data={tmp_path / 'data'}", "method=kd"]
    few = kdbench.run(kdbench.compose(tiny(*mine)))
    all_rows = kdbench.run(kdbench.compose(tiny(*mine, "data.unlabelled=true")))
    steps = [max(entry["step"] for entry in record["history"]) for record in (few, all_rows)]
    assert steps == [1, 2]
    teachers = [tmp_path / "store" / "teacher" / record["teacher"]["signature"] for record in (few, all_rows)]
    left, right = (json.loads((folder / "record.json").read_text())["history"][-2]["step"] for folder in teachers)
    assert left == right == 1


def test_a_finished_model_is_not_evaluated_again(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at the start and after each epoch; what is kept has been seen, and the test rows are seen once."""
    from kdbench.module import predictions
    from kdbench.module.predict import predict

    seen: list[tuple[int, ...]] = []

    def counted(model: Any, split: Any, *rest: Any) -> Any:
        seen.append(tuple(split.index[:3]))
        return predict(model, split, *rest)

    monkeypatch.setattr(predictions, "predict", counted)
    for keep in ("best", "last"):
        record = kdbench.run(kdbench.compose(tiny("training.epochs=2", f"training.keep={keep}", "method=label")))
        kept = [entry["validation/accuracy"] for entry in record["history"] if "validation/accuracy" in entry][1:]
        assert record["metrics"]["validation/accuracy"] == (max(kept) if keep == "best" else kept[-1])
    teacher, student = 1 + 1, 3 + 1  # evaluations of its training, and the test rows
    assert len(seen) == teacher + 2 * student


def test_digests_tell_weights_apart() -> None:
    layer = torch.nn.BatchNorm1d(3)
    first = weights_digest(layer)
    assert weights_digest(torch.nn.BatchNorm1d(3)) == first
    layer(torch.ones(2, 3))
    moved = weights_digest(layer)
    with torch.no_grad():
        layer.weight[1] += 1e-6
    assert len({first, moved, weights_digest(layer), weights_digest(layer.half())}) == 4
