"""Whole runs and sweeps: where a teacher's outputs come from changes no result, and files are shared."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench import teacher
from kdbench.error import KdbenchError
from kdbench.json_file import read_json
from kdbench.planning import plan_run
from kdbench.store import Store
from kdbench.teacher_outputs.reading import demands, describe, sharing

Overrides = Callable[..., list[str]]
EVERY = ["method=unified_soft", "knowledge=hidden", "training.epochs=3"]


def outputs(store: Path) -> dict[str, int]:
    """The streams in a store, with the time of their files."""
    folders = [artefact.path for artefact in Store(store).artefacts("outputs")]
    return {read_json(each / "meta.json")["stream"]: (each / "values.npy").stat().st_mtime_ns for each in folders}


def weights(store: Path, record: dict) -> dict[str, torch.Tensor]:
    return load_file(store / "stage" / record["stages"][-1] / "student.safetensors")


@pytest.mark.parametrize("knowledge", ["hidden", "attention", "value_relation", "hidden_cls", "logit_lens"])
def test_files_and_a_live_teacher_teach_alike_and_are_one_run(tiny: Overrides, tmp_path: Path, knowledge: str) -> None:
    overrides = ["method=unified_soft", f"knowledge={knowledge}", "training.epochs=2"]
    sides = []
    for word in ("cache", "live"):
        cfg = kdbench.compose(tiny(*overrides, f"teacher.outputs={word}", f"paths.store={tmp_path / word}"))
        sides.append((kdbench.run(cfg), tmp_path / word))
    (cached, its_store), (live, other_store) = sides
    assert cached["signature"] == live["signature"] and cached["axes"] == live["axes"]
    assert outputs(its_store) and not outputs(other_store)
    ours, theirs = weights(its_store, cached), weights(other_store, live)
    for key, value in ours.items():
        # Sixteen steps apart by rounding alone; Adam's first steps are the sign of a gradient, however small it is.
        torch.testing.assert_close(value, theirs[key], atol=2e-3, rtol=1e-2, msg=lambda text, key=key: f"{key}: {text}")


def test_runs_share_files_and_a_later_one_adds_what_it_needs(tiny: Overrides, tmp_path: Path) -> None:
    store = tmp_path / "store"
    kdbench.run(kdbench.compose(tiny(*EVERY)))
    first = outputs(store)
    assert set(first) == {"logits", "hidden.0", "hidden.2", "hidden.4"}
    kdbench.run(kdbench.compose(tiny(*EVERY, "seed=2", "optimizer.lr=2e-3")))
    assert outputs(store) == first
    kdbench.run(kdbench.compose(tiny(*EVERY, "matching=first")))
    second = outputs(store)
    assert set(second) - set(first) == {"hidden.1"} and {name: second[name] for name in first} == first


def test_other_data_another_teacher_and_another_precision_have_files_of_their_own(
    tiny: Overrides, tmp_path: Path
) -> None:
    def streams(*more: str) -> set[str]:
        cfg = kdbench.compose(tiny("knowledge=logits", *more))
        plan = plan_run(cfg, Store(tmp_path / "store"))
        return {found for reading in demands(cfg, plan) for found in reading.signatures().values()}

    base = streams()
    for more in ("data.max_length=20", "teacher.seed=9", "teacher.stored_in=f32", "teacher.computed_in=bf16"):
        assert not streams(more) & base, more
    for more in ("seed=9", "teacher.outputs=live", "teacher.shared_by=7", "training.batch_size=4", "student.layers=1"):
        assert streams(more) == base, more


def test_precisions_of_the_outputs_are_part_of_a_run_that_reads_any(tiny: Overrides, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def signature(*more: str) -> str:
        return plan_run(kdbench.compose(tiny(*more)), store).signature

    for more in ("teacher.stored_in=f32", "teacher.computed_in=bf16"):
        assert signature(more) != signature() and signature("method=label", more) == signature("method=label")


def test_a_cut_file_is_refused_with_the_way_out(tiny: Overrides, tmp_path: Path) -> None:
    kdbench.run(kdbench.compose(tiny(*EVERY)))
    damaged = next(each for each in Store(tmp_path / "store").artefacts("outputs"))
    with open(damaged.path / "values.npy", "r+b") as file:
        file.truncate(200)
    with pytest.raises(KdbenchError, match=f"the outputs {damaged.signature} in the store .* is damaged .*prune --dam"):
        kdbench.run(kdbench.compose(tiny(*EVERY, "seed=2", "teacher.outputs=cache")))


def test_a_teacher_is_loaded_once_for_the_jobs_of_a_process(tiny: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    kdbench.run(kdbench.compose(tiny()))
    loads = []
    load = teacher.from_folder
    monkeypatch.setattr(teacher, "from_folder", lambda *arguments, **more: loads.append(1) or load(*arguments, **more))
    for seed in (2, 3):
        kdbench.run(kdbench.compose(tiny(f"seed={seed}")))
    assert not loads


def test_the_plan_says_what_becomes_of_the_outputs(tiny: Overrides, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def demand(*more: str) -> list:
        cfg = kdbench.compose(tiny("training.epochs=1", *more))
        return demands(cfg, plan_run(cfg, store))

    runs = [demand(), demand("seed=2"), demand("knowledge=hidden"), demand("method=label")]
    assert sharing(runs) == [2, 2, 1, 1]
    assert describe(runs[:1], store) == [
        f"outputs of {runs[0][0].label}: to be chosen once the data is tokenised, 1 run"
    ]
    kdbench.run(kdbench.compose(tiny("method=label")))
    lines = describe(runs, store)
    assert len(lines) == 2
    assert "cached logits (each is read 2 times" in lines[0] and lines[0].endswith(", 2 runs")
    assert "live hidden 0 2 4 (each is read 1 times, which does not pay for a file)" in lines[1]


def test_a_stage_that_runs_share_reads_its_teacher_once(tiny: Overrides, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    corpus = ("corpus=generated", "teacher.language.train=true", "teacher.language.training.max_steps=2")

    def demand(*more: str) -> list:
        cfg = kdbench.compose(tiny("method=tinybert_general", *corpus, *more))
        return demands(cfg, plan_run(cfg, store))

    runs = [demand(), demand("+stages.prediction.optimizer.lr=2e-3"), demand("seed=2")]
    assert [[reading.stage for reading in run] for run in runs] == 3 * [["general", "layers", "prediction"]]
    assert sharing(runs[:2]) == [1, 1] and sharing(runs) == [2, 2, 2]
    kdbench.run(kdbench.compose(tiny("method=tinybert_general", *corpus)))
    left = demand("+stages.prediction.optimizer.lr=2e-3")
    assert demand() == [] and [reading.stage for reading in left] == ["prediction"]


def test_a_run_says_what_it_does(tiny: Overrides, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kdbench"):
        kdbench.run(kdbench.compose(tiny("teacher.shared_by=5")))
    assert "teacher outputs: cached logits (each is read 5 times" in caplog.text
