"""What may be called a run, in a store with made-up records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.error import KdbenchError
from kdbench.run_reference import open_run, resolve
from kdbench.store import Store, write_json

FIRST, SECOND, OTHER, STARTED = "abc0000000000001", "abc0000000000002", "def0000000000003", "fed0000000000004"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    for signature in (FIRST, SECOND, OTHER):
        made.obtain("run", signature, lambda folder, s=signature: write_json(folder / "record.json", {"signature": s}))
    made.partial("run", STARTED).mkdir()
    return made


def pointer(folder: Path, signature: str, store: Path) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"signature": signature, "store": str(store), "axes": {}})
    return folder


@pytest.mark.parametrize("reference", [FIRST, "abc0000000000001", "def", "d"])
def test_a_signature_or_its_unique_beginning(reference: str, store: Store) -> None:
    assert resolve(reference, store) == (OTHER if reference.startswith("d") else FIRST)


def test_the_folder_of_a_run_of_a_job_and_of_the_record(store: Store, tmp_path: Path) -> None:
    alone = pointer(tmp_path / "outputs" / "knowledge=hidden,seed=1", FIRST, store.root)
    job = pointer(tmp_path / "sweep" / "0", SECOND, store.root)
    assert resolve(str(alone), store) == FIRST
    assert resolve(str(job), store) == SECOND
    assert resolve(str(store.path("run", OTHER)), store) == OTHER


def sweep(folder: Path, store: Store) -> Path:
    folder.mkdir()
    write_json(folder / "sweep.json", {"jobs": [{"signature": FIRST}, {"signature": SECOND}, {"signature": None}]})
    return folder


REFUSED: dict[str, tuple[Callable[[Path, Store], object], str]] = {
    "unknown": (lambda folder, store: "9", "run=9 is no run in the store .*kdbench-store list"),
    "ambiguous": (
        lambda folder, store: "abc",
        rf"run=abc is the beginning of 2 runs \({FIRST}, {SECOND}\): write more",
    ),
    "unfinished": (lambda folder, store: STARTED, f"the run {STARTED} is not finished .*repeat the command"),
    "unfinished prefix": (lambda folder, store: "fe", f"the run {STARTED} is not finished"),
    "unfinished folder": (lambda folder, store: pointer(folder / "x", STARTED, store.root), "is not finished"),
    "sweep": (lambda folder, store: sweep(folder / "s", store), f"is a sweep of 2 runs: name one .*such as {FIRST}"),
    "folder": (lambda folder, store: folder, r"holds no run\.json"),
    "path": (lambda folder, store: folder / "nowhere", "is no run in the store"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_finished_run_is_refused_in_a_sentence(case: str, store: Store, tmp_path: Path) -> None:
    make, sentence = REFUSED[case]
    with pytest.raises(KdbenchError, match=sentence) as caught:
        resolve(str(make(tmp_path, store)), store)
    assert "\n" not in str(caught.value)


def test_a_damaged_record_is_refused(store: Store) -> None:
    (store.path("run", FIRST) / "record.json").write_text("{")
    for reference in (FIRST, str(store.path("run", FIRST))):
        with pytest.raises(KdbenchError, match=r"damaged|not readable"):
            resolve(reference, store)


def test_the_store_is_the_given_one_or_the_folders_or_the_environments(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pointer(tmp_path / "job", FIRST, store.root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDBENCH_STORE", str(tmp_path / "elsewhere"))
    assert open_run(str(folder))[0].root == store.root
    assert open_run(str(store.path("run", FIRST)))[0].root == store.root
    assert open_run(FIRST, store.root)[1] == FIRST
    with pytest.raises(KdbenchError, match=r"no run in the store .*elsewhere"):
        open_run(FIRST)
    with pytest.raises(KdbenchError, match=r"not finished in the store .*elsewhere"):
        open_run(str(folder), tmp_path / "elsewhere")
    monkeypatch.delenv("KDBENCH_STORE")
    assert open_run(FIRST)[0].root == store.root  # ./store
