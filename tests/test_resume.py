"""A killed training goes on where it stood, and ends with the numbers of one that was left alone."""

from __future__ import annotations

import ast
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.error import KdbenchError
from kdbench.module.fit import load_resumable
from kdbench.module.fitted import Fitted
from kdbench.store import Store

Overrides = Callable[..., list[str]]
COMMAND = Path(sys.executable).with_name("kdbench")
WORDS = ["data=corpus", "corpus=generated", "method=word_kd", "teacher.language.train=true"]
TEAM = ["+team.large.teacher={}", "+team.other.teacher={teacher.seed: 7}"]
STEPS = 48  # 6 epochs of 8 batches


def long(key: str) -> list[str]:
    """A training of many short steps, with dropout on, that can be resumed after every second one."""
    return [f"{key}.epochs=6", f"{key}.checkpoint_every_steps=2"]


def command(overrides: list[str], folder: Path) -> list[str]:
    return [str(COMMAND), *overrides, f"hydra.run.dir={folder}"]


def kill_in_training(overrides: list[str], store: Path, kind: str, folder: Path) -> Path:
    """Run the command until an artefact of this kind has a checkpoint, then `kill -9` it; the partial artefact."""
    process = subprocess.Popen(command(overrides, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not (found := list(store.glob(f"{kind}/*.partial/resume.pt"))):
            assert process.poll() is None and time.monotonic() < deadline, "there was no checkpoint to wait for"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and found[0].exists()
    return found[0].parent


def contents(store: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What a run left, without its times: weights and histories of teacher and student, and the metrics."""
    teacher = store / "teacher" / record["teacher"]["signature"]
    stage = store / "stage" / record["stages"][0]
    return {
        "teacher": load_file(teacher / "model.safetensors"),
        "student": load_file(stage / "student.safetensors"),
        "teacher history": json.loads((teacher / "record.json").read_text(encoding="utf-8"))["history"],
        "history": json.loads((stage / "stage.json").read_text(encoding="utf-8"))["history"],
        "metrics": [record["metrics"], record["teacher"]["metrics"], record["agreement"], record["start_metrics"]],
    }


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        if name in ("teacher", "student"):
            assert value.keys() == right[name].keys()
            assert [key for key, tensor in value.items() if not torch.equal(tensor, right[name][key])] == [], name
        else:
            assert value == right[name], name


def assert_tidy(store: Path) -> None:
    """Nothing that served to resume is left, and nothing is unfinished."""
    assert list(store.rglob("resume*")) == [] and list(store.glob("*/*.partial")) == []
    assert {artefact.state for artefact in Store(store).artefacts()} == {"whole"}


@pytest.mark.parametrize(("kind", "key"), [("stage", "training"), ("teacher", "teacher.training")])
def test_a_killed_training_ends_as_an_undisturbed_one(tiny: Overrides, tmp_path: Path, kind: str, key: str) -> None:
    store = tmp_path / "store"
    overrides = tiny(*long(key), "knowledge=hidden")
    partial = kill_in_training(overrides, store, kind, tmp_path / "killed")
    assert not partial.with_suffix("").exists()
    again = subprocess.run(
        command(overrides, tmp_path / "again"), capture_output=True, text=True, check=True, timeout=300
    )
    resumed = re.search(rf"resumed after step (\d+) of {STEPS}\b", again.stdout)
    assert resumed is not None and 2 <= int(resumed[1]) < STEPS, again.stdout
    pointer = json.loads((tmp_path / "again" / "run.json").read_text(encoding="utf-8"))
    record = json.loads((store / "run" / pointer["signature"] / "record.json").read_text(encoding="utf-8"))
    assert_tidy(store)

    undisturbed = kdbench.run(kdbench.compose([*overrides, f"paths.store={tmp_path / 'undisturbed'}"]))
    assert undisturbed["signature"] == record["signature"]
    assert_same(contents(store, record), contents(tmp_path / "undisturbed", undisturbed))


class Killed(Exception):
    """Stands for a kill inside one process."""


def interrupted(overrides: list[str], step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the student's training has made this many steps."""
    training_step = Fitted.training_step

    def until(module: Fitted, batch: Any, batch_idx: int) -> None:
        if module.names != ("label",) and module.done == step:
            raise Killed
        training_step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Fitted, "training_step", until)
        with pytest.raises(Killed):
            kdbench.run(kdbench.compose(overrides))


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (7, []),  # the checkpoint is of step 6
        (8, ["training.checkpoint_every_steps=100"]),  # that of the evaluation after step 8
        (19, ["training.accumulate=3", "training.batching=exact", "training.log_every_steps=5"]),  # packed batches
        (10, ["training.batching=exact", "training.unpadded=false"]),
        (13, ["training.evaluations_per_epoch=2", "training.keep=last", "optimizer=sgd"]),
        (22, ["training.patience=2", "optimizer.lr=3e-3"]),
        (11, ["precision=bf16"]),
        (13, [*WORDS, "corpus.masking.rate=0.3", "corpus.packed=false"]),  # other words in every epoch
        (9, [*TEAM, "sampling=uniform"]),
        (11, [*TEAM, "combiner=policy", "training.accumulate=2"]),
    ],
)
def test_a_training_can_be_interrupted_anywhere(
    tiny: Overrides,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: int,
    settings: list[str],
) -> None:
    monkeypatch.setattr("kdbench.module.fit.WORTH_KEEPING", 0.0)
    overrides = tiny("training.checkpoint_every_steps=3", "training.epochs=3", "knowledge=hidden", *settings)
    interrupted(overrides, step, monkeypatch)
    torch.randn(5)  # whatever the process did meanwhile
    with caplog.at_level(logging.INFO, logger="kdbench"):
        record = kdbench.run(kdbench.compose(overrides))
    assert re.search(r"resumed after step \d+ of 24", caplog.text)
    assert_tidy(tmp_path / "store")
    undisturbed = kdbench.run(kdbench.compose([*overrides, f"paths.store={tmp_path / 'undisturbed'}"]))
    assert_same(contents(tmp_path / "store", record), contents(tmp_path / "undisturbed", undisturbed))


def test_a_checkpoint_cut_short_is_one_sentence(
    tiny: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = tiny("training.checkpoint_every_steps=2", "training.epochs=2")
    interrupted(overrides, 7, monkeypatch)
    (checkpoint,) = (tmp_path / "store" / "stage").glob("*.partial/resume.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(KdbenchError, match=r"^the resumable checkpoint \S+ is damaged: delete it, .*anew$") as caught:
        kdbench.run(kdbench.compose(overrides))
    assert str(checkpoint) in str(caught.value) and checkpoint.exists()
    checkpoint.unlink()
    record = kdbench.run(kdbench.compose(overrides))
    undisturbed = kdbench.run(kdbench.compose([*overrides, f"paths.store={tmp_path / 'undisturbed'}"]))
    assert_same(contents(tmp_path / "store", record), contents(tmp_path / "undisturbed", undisturbed))


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("archive", [True, False], ids=["torch's archive", "a bare pickle"])
def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path, archive: bool) -> None:
    checkpoint, trace = tmp_path / "resume.pt", tmp_path / "trace"
    if archive:
        torch.save({"module": Code(trace)}, checkpoint)
    else:
        checkpoint.write_bytes(pickle.dumps({"module": Code(trace)}))
    with pytest.raises(KdbenchError, match="is damaged: delete it"):
        load_resumable(checkpoint)
    assert not trace.exists()


def test_every_load_of_torch_is_of_weights_only() -> None:
    package = Path(kdbench.__file__).parent
    calls = [
        (file, call)
        for file in package.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert calls
    for file, call in calls:
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert options.get("weights_only") == "True", f"{file}:{call.lineno}"
