"""One folder of the store and its manifest: what it holds, and whether that is still what was written."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kdbench.error import KdbenchError
from kdbench.json_file import TEMPORARY, read_json, write_json

MANIFEST = "manifest.json"
RESUME = "resume"
"""Prefix of the files of a partial folder that serve only to resume: a whole artefact has none."""

State = Literal["whole", "damaged", "partial", "removed"]


@dataclass(frozen=True)
class Artefact:
    """One folder of the store. `files` counts them; `created` is in UTC, for an unfinished one its last change."""

    kind: str
    signature: str
    path: Path
    bytes: int
    files: int
    created: datetime
    state: State

    @property
    def complete(self) -> bool:
        return self.state == "whole"


def seal(folder: Path, kind: str, signature: str, seconds: float) -> None:
    """Bring every file to the disk and write the manifest; `seconds` is what the last attempt took."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path, to_disk=True)}
        for path in _files(folder)
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = {"kind": kind, "signature": signature, "created": created, "files": files, "seconds": round(seconds, 3)}
    write_json(folder / MANIFEST, manifest)


def find_damage(folder: Path, kind: str, signature: str, hashed: bool = False) -> str | None:
    """What differs from the manifest, in a few words, or None; `hashed` compares contents besides sizes."""
    try:
        manifest = read_json(folder / MANIFEST)
    except (KdbenchError, OSError):
        return f"{MANIFEST} is missing or unreadable"
    if not _is_manifest(manifest):
        return f"{MANIFEST} is no manifest"
    if (manifest["kind"], manifest["signature"]) != (kind, signature):
        return f"{MANIFEST} is of the {manifest['kind']} {manifest['signature']}"
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != entry["bytes"]:
            return f"{name} has {size} bytes instead of {entry['bytes']}"
        if hashed and _sha256(path) != entry["sha256"]:
            return f"{name} has changed"
    return None


def look_at(folder: Path, kind: str) -> Artefact | None:
    """What a folder of the store is (contents are not hashed), or None where it is none of the store's."""
    signature, _, suffix = folder.name.partition(".")
    if not _is_ours(folder, signature):
        return None
    state: State
    if suffix == "":
        state = "whole" if find_damage(folder, kind, signature) is None else "damaged"
    elif suffix == "partial":
        state = "partial"
    elif suffix == "removed":
        state = "removed"
    else:
        return None
    try:
        files = _files(folder) if state == "whole" else (path for path in folder.rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in files]
        return Artefact(kind, signature, folder, sum(sizes), len(sizes), _created(folder), state)
    except FileNotFoundError:  # renamed or deleted by another process at this moment
        return None


def delete_leftovers(folder: Path) -> None:
    """Delete what serves only to resume, and half-written files that a killed process left."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith((RESUME, TEMPORARY)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Bring a folder's names to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    """The files that count: neither the manifest nor those that serve only to resume."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        passing = any(part.startswith((RESUME, TEMPORARY)) for part in inside.parts)
        if path.is_file() and not passing and inside != Path(MANIFEST):
            yield path


def _is_ours(folder: Path, signature: str) -> bool:
    # A store's path given by mistake (a home folder) must not turn somebody's folders into damaged artefacts.
    locked = folder.with_name(f"{signature}.lock").exists()
    return locked or (folder / MANIFEST).exists() or re.fullmatch(r"[0-9a-f]{16}", signature) is not None


def _is_manifest(manifest: object) -> bool:
    if not isinstance(manifest, Mapping) or not isinstance(manifest.get("files"), Mapping):
        return False
    entries = manifest["files"].values()
    return {"kind", "signature", "created"} <= manifest.keys() and all(
        isinstance(entry, Mapping) and {"bytes", "sha256"} <= entry.keys() for entry in entries
    )


def _created(folder: Path) -> datetime:
    try:
        return datetime.fromisoformat(read_json(folder / MANIFEST)["created"])
    except (KdbenchError, OSError, KeyError, TypeError, ValueError):
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def _sha256(path: Path, to_disk: bool = False) -> str:
    with open(path, "rb") as file:
        if to_disk:  # here a disk that filled up behind our back (a quota, a network file system) says so
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
