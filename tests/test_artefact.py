from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kdbench.artefact import delete_leftovers, find_damage, look_at, seal

SIGNATURE = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / SIGNATURE
    (made / "model").mkdir(parents=True)
    (made / "model" / "weights.bin").write_bytes(b"12345")
    (made / "record.json").write_text("{}")
    seal(made, "stage", SIGNATURE, 1.5)
    return made


def change_manifest(folder: Path, key: str, value: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}))


def test_manifest_lists_every_file(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.keys() == {"kind", "signature", "created", "files", "seconds"}
    assert (manifest["kind"], manifest["signature"], manifest["seconds"]) == ("stage", SIGNATURE, 1.5)
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        "model/weights.bin": 5,
        "record.json": 2,
    }
    hashed = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"  # printf 12345 | sha256sum
    assert manifest["files"]["model/weights.bin"]["sha256"] == hashed
    assert find_damage(folder, "stage", SIGNATURE, hashed=True) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "record.json").unlink(), "record.json is missing"),
        (lambda folder: (folder / "model" / "weights.bin").write_bytes(b"123"), "3 bytes instead of 5"),
        (lambda folder: (folder / "manifest.json").unlink(), "missing or unreadable"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {'), "missing or unreadable"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "no manifest"),
        (lambda folder: change_manifest(folder, "files", {"record.json": 2}), "no manifest"),
        (lambda folder: change_manifest(folder, "signature", "other"), "is of the stage other"),
        (lambda folder: change_manifest(folder, "kind", "teacher"), "is of the teacher"),
    ],
)
def test_damage_is_found_by_looking(folder: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(folder)
    for hashed in (False, True):
        damage = find_damage(folder, "stage", SIGNATURE, hashed)
        assert damage is not None and words in damage
    artefact = look_at(folder, "stage")
    assert artefact is not None and artefact.state == "damaged" and not artefact.complete


def test_changed_content_of_the_same_size_is_found_by_hashing(folder: Path) -> None:
    (folder / "model" / "weights.bin").write_bytes(b"54321")
    assert find_damage(folder, "stage", SIGNATURE) is None
    assert find_damage(folder, "stage", SIGNATURE, hashed=True) == "model/weights.bin has changed"


def test_a_file_added_later_is_no_damage(folder: Path) -> None:
    (folder / "predictions.parquet").write_bytes(b"more")
    assert find_damage(folder, "stage", SIGNATURE, hashed=True) is None


def test_look_at_counts_what_the_manifest_lists(folder: Path) -> None:
    artefact = look_at(folder, "stage")
    assert artefact is not None and artefact.complete
    assert (artefact.kind, artefact.signature, artefact.bytes, artefact.files) == ("stage", SIGNATURE, 7, 2)
    assert timedelta(0) <= datetime.now(UTC) - artefact.created < timedelta(minutes=10)


def test_look_at_counts_all_that_unfinished_work_takes(tmp_path: Path) -> None:
    made = tmp_path / f"{SIGNATURE}.partial"
    made.mkdir()
    (made / "resume.pt").write_bytes(b"12345")
    artefact = look_at(made, "stage")
    assert artefact is not None and (artefact.bytes, artefact.files) == (5, 1)


def test_look_at_knows_a_folder_by_its_name(tmp_path: Path) -> None:
    states = {}
    for suffix in ("", ".partial", ".removed", ".else"):
        made = tmp_path / f"{SIGNATURE}{suffix}"
        made.mkdir()
        artefact = look_at(made, "stage")
        states[suffix] = None if artefact is None else (artefact.signature, artefact.state)
    assert states == {
        "": (SIGNATURE, "damaged"),
        ".partial": (SIGNATURE, "partial"),
        ".removed": (SIGNATURE, "removed"),
        ".else": None,
    }


def test_look_at_leaves_folders_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "summer").mkdir()
    assert look_at(tmp_path / "summer", "pictures") is None
    (tmp_path / "summer.lock").touch()
    assert look_at(tmp_path / "summer", "pictures") is not None


def test_leftovers_are_deleted_and_never_listed(tmp_path: Path) -> None:
    for name in ("resume.pt", "resume/state.pt", "model/resume_2.pt", "model/.tmp-record.json-1", "model/keep", "keep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    seal(tmp_path, "stage", SIGNATURE, 0.0)
    delete_leftovers(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"model/keep", "keep", "manifest.json"}
    assert find_damage(tmp_path, "stage", SIGNATURE, hashed=True) is None
