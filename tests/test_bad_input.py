"""Every mistake is one sentence with the way out, on standard error, with exit status 1; the store stays as it was."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import kdbench
from kdbench.error import KdbenchError
from kdbench.store import Store
from tests.command_line import in_process

Overrides = Callable[..., list[str]]
COMMAND = Path(sys.executable).with_name("kdbench")
RANDOM = "initialization=random"
TABLE = ["data.source=folder", "data.folder.path=mine", "data.labels=[nature,machines]"]


@dataclass(frozen=True)
class Place:
    """Where a case happens: a folder of its own, and in it a store that holds one finished run."""

    folder: Path
    store: Store
    patch: pytest.MonkeyPatch

    def artefact(self, kind: str) -> Path:
        (found,) = (artefact.path for artefact in self.store.artefacts(kind))
        return found


Prepare = Callable[[Place], Sequence[str]]


@dataclass(frozen=True)
class Case:
    """A command that is refused: what it adds to a run that works, and what its sentence must say.

    `prepare` spoils something first and adds overrides that name it; it `spoils` one kind of artefact at most. A `real`
    case runs the installed command in a process of its own. `options` are flags, which come first.
    """

    name: str
    overrides: Sequence[str]
    sentence: Sequence[str]
    prepare: Prepare | None = None
    spoils: str | None = None
    real: bool = False
    options: Sequence[str] = ()


def table(train: str, validation: str = "text,label\na river,nature\nan engine,machines\n") -> Prepare:
    """A data folder with these CSV files."""

    def prepare(place: Place) -> Sequence[str]:
        folder = place.folder / "data" / "mine"
        folder.mkdir(parents=True)
        (folder / "train.csv").write_text(train, encoding="utf-8")
        (folder / "validation.csv").write_text(validation, encoding="utf-8")
        return [f"paths.data={place.folder / 'data'}"]

    return prepare


def glue_without_rte(place: Place) -> Sequence[str]:
    (place.folder / "data" / "glue" / "sst2").mkdir(parents=True)
    return [f"paths.data={place.folder / 'data'}"]


def no_model(place: Place) -> Sequence[str]:
    (place.folder / "empty").mkdir()
    return [f"teacher.model={place.folder / 'empty'}"]


def broken_model(place: Place) -> Sequence[str]:
    folder = shutil.copytree(place.artefact("teacher"), place.folder / "broken")
    flip(folder / "model.safetensors", 12)
    return [f"teacher.model={folder}"]


def of_another_task(place: Place) -> Sequence[str]:
    return ["teacher=fine_tuned", f"teacher.model={place.artefact('teacher')}"]


def flip(file: Path, position: int) -> None:
    """Change one byte; the size stays."""
    content = bytearray(file.read_bytes())
    content[position] ^= 0xFF
    file.write_bytes(content)


def cut(kind: str, name: str) -> Prepare:
    def prepare(place: Place) -> Sequence[str]:
        file = place.artefact(kind) / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return []

    return prepare


def flipped(kind: str, name: str, position: int) -> Prepare:
    def prepare(place: Place) -> Sequence[str]:
        flip(place.artefact(kind) / name, position)
        return []

    return prepare


def cut_stage(place: Place) -> Sequence[str]:
    shutil.rmtree(place.artefact("run"))  # so that its record has to be made again, from the stage
    return cut("stage", "student.safetensors")(place)


def fault(target: str, number: int, filename: str | None = None) -> Prepare:
    """A fault of the disk, injected: as root, permissions stop nobody."""

    def raise_it(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), filename)

    def prepare(place: Place) -> Sequence[str]:
        place.patch.setattr(target, raise_it)
        return []

    return prepare


def a_file_for_a_store(place: Place) -> Sequence[str]:
    (place.folder / "file").write_text("mine", encoding="utf-8")
    return [f"paths.store={place.folder / 'file'}"]


def never_computed(place: Place) -> Sequence[str]:
    place.patch.setattr("kdbench.pipeline._compute", lambda *_: pytest.fail("refused too late"))
    return []


def without_gpu(place: Place) -> Sequence[str]:
    place.patch.setattr(torch.cuda, "is_available", lambda: False)
    return []


DAMAGED = ["in the store", "is damaged", "`kdbench-store prune --damaged`"]
NEW = ["seed=2"]  # a run that is not in the store, with the teacher and the data that are

CASES = [
    # The command line.
    Case("an unknown option", ["knowledge=hiden"], ["knowledge=hiden is no option", "choose hidden"], real=True),
    Case("an unknown task", ["data=glue/rtee"], ["data=glue/rtee is no option", "choose glue/rte"]),
    Case("an unknown size", ["student/size=l3_h38"], ["student/size=l3_h38", "choose l3_h384"]),
    Case("a far-off option", ["logger=paper"], ["logger=paper", "choose all, csv, tensorboard, trackio, wandb"]),
    Case("a misspelt key", ["training.epoch=2"], ["training.epoch=2", "choose training.epochs"], real=True),
    Case("a misspelt group", ["knowlege=hidden"], ["knowlege=hidden", "choose knowledge"]),
    Case("a misspelt key of a term", ["stages.task.terms.transfer.wieght=2"], ["wieght=2", "terms.transfer.weight"]),
    Case("a key of nothing", ["zebra=1"], ["zebra=1", "kdbench --cfg job"]),
    Case("no value", ["training.epochs"], ["training.epochs cannot be read", "KEY=VALUE"]),
    Case("a sweep without -m", ["knowledge=hidden,logits"], ["knowledge=hidden,logits", "add -m"]),
    Case("an unknown file", [], ["--config-name=nope", "-cd sweeps -cn demo"], options=["--config-name=nope"]),
    Case("an unknown folder", [], ["--config-dir=/no/where", "correct its path"], options=["-cd", "/no/where"]),
    Case("an unknown flag", [], ["--fast", "kdbench --hydra-help"], options=["--fast"], real=True),
    Case("flags that exclude each other", ["-m", "--cfg", "hydra"], ["--multirun and --cfg", "leave out all but one"]),
    Case("a key of Hydra's", ["hydra.sweeper.foo=3"], ["hydra.sweeper.foo=3: there is no such key", "--cfg hydra"]),
    Case("a flag in the middle", ["-m", "seed=1,2"], ["seed=1,2", "flags such as -m come before them"]),
    Case("a missing value", ["teacher.model=???"], ["teacher.model has no value", "teacher.model=..."], real=True),
    Case("an axis that is not read", ["method=kd", "knowledge=hidden"], ["knowledge", "choose method=unified"]),
    Case("a corpus that is not read", ["corpus=gutenberg"], ["corpus is set", "choose a method with such a stage"]),
    # Values of the wrong kind.
    Case(
        "words for a number",
        ["training.epochs=abc"],
        ["training.epochs=abc must be a number greater than 0"],
        real=True,
    ),
    Case("half a row", ["training.batch_size=1.5"], ["training.batch_size=1.5 must be a whole number of at least 1"]),
    Case("a negative seed", ["seed=-1"], ["seed=-1 must be a whole number of at least 0"]),
    Case("a rate of words", ["optimizer.lr=abc"], ["optimizer.lr=abc must be a number greater than 0"]),
    Case("a teacher's rate", ["teacher.optimizer.lr=0"], ["teacher.optimizer.lr=0 must be a number greater than 0"]),
    Case("a long warm-up", ["lr_schedule.warmup_share=2"], ["lr_schedule.warmup_share=2 must be a number from 0 to 1"]),
    Case("total dropout", ["student.dropout=1"], ["student.dropout=1 must be a number from 0 to below 1"]),
    Case(
        "a weight of words", ["stages.task.terms.transfer.weight=abc"], ["terms.transfer.weight=abc must be a number"]
    ),
    Case("half a fusion", ["fused=half"], ["fused=half must be true or false"]),
    Case("a maybe", ["guards.preflight=maybe"], ["guards.preflight=maybe must be true or false"]),
    Case("an unknown precision", ["precision.name=f8"], ["precision.name=f8", "choose f32 or bf16"]),
    Case(
        "rows of words", ["data.train_rows=abc"], ["data.train_rows=abc must be a whole number", "null for every row"]
    ),
    Case("an unknown metric", ["data.metrics=[bleu]"], ["data.metrics=['bleu']", "choose among accuracy"]),
    # Choices that cannot work together.
    Case(
        "unequal widths without projection",
        ["knowledge=hidden", "student.width=16", RANDOM],
        ["knowledge=hidden", "student's is 16 and the teacher's 32", "choose projection=to_teacher"],
        real=True,
    ),
    Case(
        "more student than teacher layers",
        ["knowledge=hidden", "matching=first", "student.layers=6", RANDOM],
        ["matching=first", "the student has 6 and the teacher 4", "choose a student/size of at most 4 layers"],
    ),
    Case(
        "unequal heads",
        ["knowledge=attention", "student.heads=2", RANDOM],
        ["knowledge=attention", "the student has 2 and the teacher 4", "set student.heads=4"],
    ),
    Case(
        "heads that do not divide",
        ["student.heads=5", RANDOM],
        ["student.heads=5", "student.width=32", "one of 1, 2, 4"],
    ),
    Case("layers of another width", ["student.width=16"], ["initialization=teacher_uniform", "choose initialization="]),
    Case(
        "two equal terms", ["knowledge=label"], ["'label' and 'transfer' compare the same", "choose another knowledge"]
    ),
    Case(
        "more tokens than positions",
        ["data.max_length=100"],
        ["data.max_length=100 is longer than the 64 positions", "set data.max_length=64"],
    ),
    # The teacher.
    Case("no model", [], ["teacher.model=", "is no model folder", "teacher.source=hub"], no_model),
    Case("a damaged model", [], ["the model folder", "cannot be loaded", "restore its files"], broken_model),
    Case(
        "a teacher of another task",
        ["data.name=pets", "data.labels=[cat,dog]"],
        ["teacher.model=", "was fine-tuned on generated, not on pets", "teacher.train=true"],
        of_another_task,
    ),
    Case(
        "a checkpoint that is not there",
        ["initialization=checkpoint", "initialization.signature=0123abcd"],
        ["initialization.signature=0123abcd names no finished stage or run", "`kdbench-store list`"],
        never_computed,
    ),
    # The data.
    Case(
        "a task that the folder lacks",
        ["data=glue/rte", "data.source=folder", "data.max_length=48"],
        ["there is no folder", "glue/rte, beside it there is sst2", "set paths.data"],
        glue_without_rte,
    ),
    Case(
        "a missing column", TABLE, ["train: there is no column text", "correct data.text"], table("words,label\na,b\n")
    ),
    Case("no examples", TABLE, ["generated, split train: there are no examples"], table("text,label\n")),
    Case("no labels", TABLE, ["no examples with a label", "data.unlabelled=true"], table("text,label\na river,\n")),
    Case(
        "a label outside the classes",
        TABLE,
        ["row 1 has the label 'sports', which is not one of nature, machines", "correct data.labels"],
        table("text,label\na river,nature\na ball,sports\n"),
    ),
    Case(
        "a file that is none",
        ["data.source=folder", "data.folder.path=mine", "data.splits.train=other"],
        ["mine has no other.parquet", "train.csv", "correct data.splits"],
        table("text,label\n"),
    ),
    # The store.
    Case("a teacher cut short", NEW, ["the teacher", *DAMAGED], cut("teacher", "model.safetensors"), spoils="teacher"),
    Case(
        "a changed byte of the teacher",
        NEW,
        ["the teacher", "model.safetensors", *DAMAGED],
        flipped("teacher", "model.safetensors", 12),
        spoils="teacher",
    ),
    Case(
        "a changed byte of the data",
        NEW,
        ["the data", "train.tokens.npy", *DAMAGED],
        flipped("data", "train.tokens.npy", 0),
        spoils="data",
    ),
    Case(
        "a changed byte of the teacher's record",
        NEW,
        ["the teacher", "record.json", *DAMAGED],
        flipped("teacher", "record.json", 0),
        spoils="teacher",
    ),
    Case("a half-written record", [], ["the run", *DAMAGED], cut("run", "record.json"), spoils="run"),
    Case("a half-written manifest", [], ["the run", *DAMAGED], cut("run", "manifest.json"), spoils="run"),
    Case("a student cut short", [], ["the stage", *DAMAGED], cut_stage, spoils="stage"),
    Case("a file for a store", [], ["paths.store=", "is a file", "KDBENCH_STORE"], a_file_for_a_store, real=True),
    Case(
        "a full disk",
        NEW,
        ["no space is left for the store", "computing the stage", "kdbench-store prune", "paths.store"],
        fault("kdbench.stage.save_file", errno.ENOSPC),
    ),
    Case(
        "a full disk at a checkpoint",
        [*NEW, "training.checkpoint_every_steps=2"],
        ["no space is left for the store", "computing the stage", "paths.store"],
        fault("kdbench.module.fit.torch.save", errno.ENOSPC),
    ),
    Case(
        "a store that cannot be written",
        NEW,
        ["the store", "cannot be used (Read-only file system)", "change its permissions", "paths.store"],
        fault("kdbench.store.FileLock.acquire", errno.EROFS),
    ),
    Case(
        "a full disk under the run's folder",
        NEW,
        ["the folder of the run cannot be written (No space left on device: /a/b)", "hydra.run.dir=..."],
        fault("kdbench.store.write_json", errno.ENOSPC, "/a/b"),
    ),
    Case(
        "a full disk before the run",
        NEW,
        ["the folder of the run cannot be written (No space left on device)", "hydra.run.dir=..."],
        fault("hydra.core.utils._save_config", errno.ENOSPC),
    ),
    # The training.
    Case(
        "a loss that is NaN",
        [*NEW, "optimizer.lr=1e30"],
        ["the loss 'label' became", "between step", "lower optimizer.lr"],
        real=True,
    ),
    Case(
        "a teacher's loss that is NaN",
        [*NEW, "teacher.optimizer.lr=1e30"],
        ["the loss 'label' became", "lower teacher.optimizer.lr"],
    ),
    Case(
        "predictions that are not finite",
        [*NEW, "optimizer.lr=1e38", "training.max_steps=1", "lr_schedule=constant"],
        ["the predictions hold NaN or infinity", "lower optimizer.lr"],
    ),
    Case("no GPU", [*NEW, "device=gpu"], ["device=gpu, but this machine has no GPU", "device=auto"], without_gpu),
]


@pytest.fixture(scope="module")
def finished(tiny_in: Overrides, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished run."""
    root = tmp_path_factory.mktemp("finished") / "store"
    kdbench.run(kdbench.compose(tiny_in(root)))
    return root


@pytest.fixture
def place(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(finished, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return Place(tmp_path, Store(tmp_path / "store"), monkeypatch)


def in_a_process_of_its_own(arguments: list[str]) -> tuple[int, str, str]:
    done = subprocess.run([str(COMMAND), *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_one_sentence(
    case: Case, place: Place, tiny_in: Overrides, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = {(artefact.kind, artefact.signature) for artefact in place.store.artefacts()}
    assert {kind for kind, _ in before} == {"data", "teacher", "stage", "run"}
    named = case.prepare(place) if case.prepare is not None else []
    kept = {(artefact.kind, artefact.signature) for artefact in place.store.artefacts()} & before
    run = [*tiny_in(place.store.root), f"hydra.run.dir={place.folder / 'run'}"]
    arguments = [*case.options, *run, *case.overrides, *named]
    code, out, err = in_a_process_of_its_own(arguments) if case.real else in_process(arguments, capfd)
    place.patch.undo()

    assert code == 1, err
    assert re.fullmatch(r"kdbench: \S.*\S\n", err), err
    for part in case.sentence:
        assert part in err
    assert "defect of kdbench" not in err
    for text in (out, err, caplog.text):
        assert "Traceback" not in text
    for kind, signature in kept:
        assert (place.store.damage(kind, signature, hashed=True) is None) is (kind != case.spoils), kind
    for artefact in place.store.artefacts():
        assert artefact.state in ("whole", "partial") or artefact.kind == case.spoils
        assert not place.store.held(artefact.kind, artefact.signature)


def test_the_run_that_every_case_spoils_is_a_good_one(
    place: Place, tiny_in: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.pipeline._compute", lambda *_: pytest.fail("it is not in the store"))
    assert kdbench.run(kdbench.compose(tiny_in(place.store.root)))["status"] == "finished"


def test_the_same_command_works_once_the_cause_is_gone(place: Place, tiny_in: Overrides) -> None:
    """A full disk in the middle of a training costs nothing but the way back to its last checkpoint."""
    overrides = [*tiny_in(place.store.root), *NEW, "training.checkpoint_every_steps=2"]
    with place.patch.context() as patch:
        fault("kdbench.stage.save_file", errno.ENOSPC)(Place(place.folder, place.store, patch))
        with pytest.raises(KdbenchError, match="no space is left"):
            kdbench.run(kdbench.compose(overrides))
    assert [artefact.state for artefact in place.store.artefacts("stage")].count("partial") == 1
    assert kdbench.run(kdbench.compose(overrides))["status"] == "finished"
    assert {artefact.state for artefact in place.store.artefacts()} == {"whole"}
