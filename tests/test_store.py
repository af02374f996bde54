from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from kdbench.error import KdbenchError
from kdbench.store import Store

SIGNATURE = "0123456789abcdef"
OTHER = "fedcba9876543210"

Start = Callable[[str], subprocess.Popen[bytes]]

# A process that obtains one artefact: it tells that its build has begun and waits there until it is allowed to go on.
PROCESS = """
import logging, sys, time
from pathlib import Path
from kdbench.store import Store

logging.basicConfig(level=logging.INFO, filename=sys.argv[3])
signals = Path(sys.argv[2])

def build(folder):
    with open(signals / "calls", "a") as file:
        file.write("call\\n")
    (folder / "resume.json").write_text("3")
    (folder / "weights.bin").write_bytes(b"half")
    (signals / "started").touch()
    while not (signals / "go").exists():
        time.sleep(0.02)
    (folder / "weights.bin").write_bytes(b"whole")

Store(sys.argv[1]).obtain("teacher", "0123456789abcdef", build)
"""


def weights(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"whole")


def never(folder: Path) -> None:
    raise AssertionError(f"built {folder}, which was not to be built")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def start(store: Store, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start_one(log_name: str) -> subprocess.Popen[bytes]:
        arguments = [str(store.root), str(tmp_path), str(tmp_path / log_name)]
        started.append(subprocess.Popen([sys.executable, "-c", PROCESS, *arguments]))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_nothing_is_there_before(store: Store) -> None:
    assert not store.has("data", SIGNATURE) and store.artefacts() == [] and not store.root.exists()
    assert store.path("data", SIGNATURE) == store.root / "data" / SIGNATURE
    assert store.partial("data", SIGNATURE) == store.root / "data" / f"{SIGNATURE}.partial"


def test_an_artefact_is_built_once(store: Store) -> None:
    folders: list[Path] = []

    def build(folder: Path) -> None:
        folders.append(folder)
        assert not store.has("data", SIGNATURE)
        weights(folder)

    assert store.obtain("data", SIGNATURE, build) == store.path("data", SIGNATURE)
    assert store.obtain("data", SIGNATURE, never) == store.path("data", SIGNATURE)
    assert folders == [store.partial("data", SIGNATURE)] and not folders[0].exists()
    assert store.has("data", SIGNATURE) and not store.has("stage", SIGNATURE) and not store.has("data", OTHER)
    assert (store.path("data", SIGNATURE) / "weights.bin").read_bytes() == b"whole"


def test_a_build_may_obtain_others(store: Store) -> None:
    def build(folder: Path) -> None:
        source = store.obtain("teacher", OTHER, weights)
        (folder / "copy").write_bytes((source / "weights.bin").read_bytes())

    store.obtain("stage", SIGNATURE, build)
    assert [(artefact.kind, artefact.signature) for artefact in store.artefacts()] == [
        ("stage", SIGNATURE),
        ("teacher", OTHER),
    ]
    assert [artefact.kind for artefact in store.artefacts("teacher")] == ["teacher"]


def test_the_root_does_not_move_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.obtain("data", SIGNATURE, weights) == tmp_path / "store" / "data" / SIGNATURE


@pytest.mark.parametrize("signature", ["../escape", "", "a/b", "0123.partial", "."])
def test_a_name_that_is_no_signature_is_refused(store: Store, signature: str) -> None:
    with pytest.raises(KdbenchError, match="is no signature of the store"):
        store.has("run", signature)


def test_a_failed_build_can_be_resumed(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "resume.json").write_text("3")
        raise ZeroDivisionError("of the build")

    with pytest.raises(ZeroDivisionError, match="of the build"):
        store.obtain("stage", SIGNATURE, fail)
    assert not store.has("stage", SIGNATURE) and not store.held("stage", SIGNATURE)
    assert [artefact.state for artefact in store.artefacts()] == ["partial"]

    def resume(folder: Path) -> None:
        (folder / "weights.bin").write_text((folder / "resume.json").read_text())

    folder = store.obtain("stage", SIGNATURE, resume)
    assert (folder / "weights.bin").read_text() == "3" and not (folder / "resume.json").exists()


def test_two_processes_build_once(store: Store, tmp_path: Path, start: Start) -> None:
    first = start("first.log")
    wait_for((tmp_path / "started").exists)
    assert store.held("teacher", SIGNATURE)
    second = start("second.log")
    log = tmp_path / "second.log"
    wait_for(lambda: log.exists() and "waiting" in log.read_text())
    (tmp_path / "go").touch()
    assert [first.wait(timeout=120), second.wait(timeout=120)] == [0, 0]
    assert (tmp_path / "calls").read_text() == "call\n"
    lines = log.read_text().splitlines()
    assert len(lines) == 1 and f"waiting for the teacher {SIGNATURE}, which another process is computing" in lines[0]
    assert (tmp_path / "first.log").read_text() == ""
    assert store.has("teacher", SIGNATURE) and not store.held("teacher", SIGNATURE)


def test_a_killed_process_is_taken_over(store: Store, tmp_path: Path, start: Start) -> None:
    process = start("killed.log")
    wait_for((tmp_path / "started").exists)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=120) == -signal.SIGKILL
    assert not store.has("teacher", SIGNATURE) and not store.held("teacher", SIGNATURE)

    def take_over(folder: Path) -> None:
        assert (folder / "resume.json").read_text() == "3" and (folder / "weights.bin").read_bytes() == b"half"
        weights(folder)

    folder = store.obtain("teacher", SIGNATURE, take_over)
    assert {path.name for path in folder.iterdir()} == {"weights.bin", "manifest.json"}
    assert store.damage("teacher", SIGNATURE, hashed=True) is None


def test_a_waiting_process_takes_over_from_a_killed_one(store: Store, tmp_path: Path, start: Start) -> None:
    first = start("first.log")
    wait_for((tmp_path / "started").exists)
    second = start("second.log")
    wait_for(lambda: (tmp_path / "second.log").exists() and "waiting" in (tmp_path / "second.log").read_text())
    first.kill()
    (tmp_path / "go").touch()
    assert second.wait(timeout=120) == 0
    assert (tmp_path / "calls").read_text() == "call\n" * 2
    assert store.damage("teacher", SIGNATURE, hashed=True) is None


def test_a_process_killed_after_its_build_is_finished_without_building(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def die_at_the_rename(source: Path, target: Path) -> None:
        if Path(source).is_dir():
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die_at_the_rename)
        with pytest.raises(KeyboardInterrupt):
            store.obtain("stage", SIGNATURE, weights)
    assert not store.has("stage", SIGNATURE)
    assert store.obtain("stage", SIGNATURE, never) == store.path("stage", SIGNATURE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "weights.bin").unlink(),
        lambda folder: (folder / "weights.bin").write_bytes(b"who"),
        lambda folder: (folder / "manifest.json").write_bytes(b'{"files":'),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
    ids=["missing", "short", "half-written manifest", "no manifest"],
)
def test_a_damaged_artefact_is_refused_and_kept(store: Store, spoil: Callable[[Path], object]) -> None:
    folder = store.obtain("teacher", SIGNATURE, weights)
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not store.has("teacher", SIGNATURE)
    with pytest.raises(
        KdbenchError, match=f"teacher {SIGNATURE} .* is damaged .*kdbench-store prune --damaged"
    ) as caught:
        store.obtain("teacher", SIGNATURE, never)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def fault(number: int) -> Callable[..., None]:
    def raise_it(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return raise_it


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("struck", ["os.fsync", "os.replace", "pathlib.Path.mkdir", "os.open", "build"])
def test_a_fault_of_the_disk_is_one_sentence_and_harms_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, struck: str
) -> None:
    store.obtain("teacher", OTHER, weights)
    with monkeypatch.context() as patch:
        if struck != "build":
            patch.setattr(struck, fault(number))
        with pytest.raises(KdbenchError) as caught:
            store.obtain("teacher", SIGNATURE, fault(number) if struck == "build" else weights)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(store.root) in sentence
    assert "paths.store" in sentence and "KDBENCH_STORE" in sentence and os.strerror(number) in sentence
    assert not store.has("teacher", SIGNATURE) and not store.held("teacher", SIGNATURE)
    assert store.damage("teacher", OTHER, hashed=True) is None
    store.obtain("teacher", SIGNATURE, weights)
    assert store.damage("teacher", SIGNATURE, hashed=True) is None


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "x"), FileExistsError(errno.EEXIST, "x"), KeyError("x")]
)
def test_other_errors_of_a_build_pass_unchanged(store: Store, error: Exception) -> None:
    def build(_: Path) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        store.obtain("data", SIGNATURE, build)
    assert caught.value is error


def test_a_users_mistake_inside_a_build_passes_unchanged(store: Store) -> None:
    def build(_: Path) -> None:
        raise KdbenchError("one sentence")

    with pytest.raises(KdbenchError, match=r"^one sentence$"):
        store.obtain("data", SIGNATURE, build)


def test_a_fault_inside_a_nested_build_is_told_once(store: Store) -> None:
    with pytest.raises(KdbenchError, match=f"the teacher {OTHER}") as caught:
        store.obtain("stage", SIGNATURE, lambda _: store.obtain("teacher", OTHER, fault(errno.ENOSPC)) and None)
    assert "the stage" not in str(caught.value)


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(KdbenchError, match=r"paths\.store=.*/file is a file.*KDBENCH_STORE"):
        Store(tmp_path / "file")
    with pytest.raises(KdbenchError, match=r"paths\.store=.*a file is in its place.*KDBENCH_STORE"):
        Store(tmp_path / "file" / "store").obtain("data", SIGNATURE, weights)
    assert (tmp_path / "file").read_text() == "mine"


def test_remove_deletes_one_artefact(store: Store) -> None:
    for signature in (SIGNATURE, OTHER):
        store.obtain("stage", signature, weights)
    assert store.remove(store.artefacts()[0])
    assert [artefact.signature for artefact in store.artefacts()] == [OTHER]
    store.obtain("stage", SIGNATURE, weights)
    assert store.has("stage", SIGNATURE)


def test_remove_spares_what_is_being_computed(store: Store) -> None:
    def build(folder: Path) -> None:
        weights(folder)
        (artefact,) = store.artefacts()
        held, removed = store.held("stage", SIGNATURE), store.remove(artefact)
        (folder / "seen.json").write_text(json.dumps([artefact.state, held, removed]))

    folder = store.obtain("stage", SIGNATURE, build)
    assert json.loads((folder / "seen.json").read_text()) == ["partial", True, False]


def test_an_interrupted_deletion_leaves_no_half_artefact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.obtain("stage", SIGNATURE, weights)
    with monkeypatch.context() as patch:
        patch.setattr(
            "shutil.rmtree", lambda folder, ignore_errors=False: None if ignore_errors else fault(errno.EIO)()
        )
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            store.remove(store.artefacts()[0])
    assert not store.path("stage", SIGNATURE).exists()
    (left,) = store.artefacts()
    assert left.state == "removed"
    assert store.remove(left) and store.artefacts() == []


def test_obtaining_what_is_there_needs_no_lock_and_says_nothing(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.obtain("stage", SIGNATURE, weights)
    monkeypatch.setattr("os.open", fault(errno.EROFS))
    with caplog.at_level(logging.DEBUG, logger="kdbench"):
        store.obtain("stage", SIGNATURE, never)
    assert caplog.records == []


# Two processes that obtain several artefacts together, in opposite orders: A and B, B and C.
TOGETHER = """
import sys, time
from pathlib import Path
from kdbench.store import Store

signals, names = Path(sys.argv[2]), sys.argv[3].split(",")

def build(folders):
    with open(signals / "calls", "a") as file:
        file.write(",".join(name[0] for name in sorted(folders)) + "\\n")
    for folder in folders.values():
        (folder / "values").write_bytes(b"half")
    (signals / f"started-{names[0][0]}").touch()
    while not (signals / "go").exists():
        time.sleep(0.02)
    for folder in folders.values():
        (folder / "values").write_bytes(b"whole")

Store(sys.argv[1]).obtain_all("outputs", names, build)
"""
A, B, C = (letter * 16 for letter in "abc")


def together(store: Store, signals: Path, *names: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", TOGETHER, str(store.root), str(signals), ",".join(names)])


def test_what_is_missing_of_several_is_built_together(store: Store) -> None:
    calls: list[list[str]] = []

    def build(folders: Mapping[str, Path]) -> None:
        calls.append(sorted(folders))
        for signature, folder in folders.items():
            (folder / "values").write_text(signature)

    assert store.obtain_all("outputs", [B, A], build) == {name: store.path("outputs", name) for name in (A, B)}
    assert store.obtain_all("outputs", [C, B], build)[C] == store.path("outputs", C)
    assert store.obtain_all("outputs", [A, B, C], build)[B] == store.path("outputs", B)
    assert calls == [[A, B], [C]]
    assert all((store.path("outputs", name) / "values").read_text() == name for name in (A, B, C))


def test_two_processes_build_what_both_need_once(store: Store, tmp_path: Path) -> None:
    first = together(store, tmp_path, B, A)
    wait_for((tmp_path / "started-b").exists)
    second = together(store, tmp_path, C, B)
    time.sleep(0.3)
    (tmp_path / "go").touch()
    assert [first.wait(timeout=120), second.wait(timeout=120)] == [0, 0]
    assert (tmp_path / "calls").read_text().split() == ["a,b", "c"]
    assert all(store.damage("outputs", name, hashed=True) is None for name in (A, B, C))


def test_a_process_killed_over_several_leaves_none_of_them(store: Store, tmp_path: Path) -> None:
    process = together(store, tmp_path, A, B)
    wait_for((tmp_path / "started-a").exists)
    process.kill()
    process.wait()
    assert not store.has("outputs", A) and not store.has("outputs", B)
    (tmp_path / "go").touch()
    assert together(store, tmp_path, A, B).wait(timeout=120) == 0
    assert [(store.path("outputs", name) / "values").read_bytes() for name in (A, B)] == [b"whole"] * 2
