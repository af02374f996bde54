"""What a user may call a finished run: its signature, a unique beginning of it, or a folder that leads to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kdbench.error import KdbenchError
from kdbench.store import Store, read_json

POINTER, RECORD, SWEEP = "run.json", "record.json", "sweep.json"


def open_run(reference: str, store: str | Path | None = None) -> tuple[Store, str]:
    """The store and the signature of a finished run.

    Args:
        reference: as `resolve`.
        store: where to look; else the store that a run's folder names, else KDBENCH_STORE, else `store`.
    """
    opened = Store(store or _store_of(reference) or os.environ.get("KDBENCH_STORE") or "store")
    return opened, resolve(reference, opened)


def resolve(reference: str, store: Store) -> str:
    """The signature of the finished run that `reference` means.

    Args:
        reference: a signature, a beginning that only one run of the store has, the folder of a run or of a sweep's job
            (with `run.json`), or the run's own folder in the store.
        store: where the run must be.

    Raises:
        KdbenchError: no such run, several of them, or one that is not finished or damaged.
    """
    folder = Path(reference).expanduser()
    signature = _of_folder(folder) if folder.is_dir() else _of_prefix(reference, store)
    if store.has("run", signature):
        return signature
    if not store.path("run", signature).exists():
        raise KdbenchError(
            f"the run {signature} is not finished in the store {store.root}: repeat the command that began it, which "
            "goes on where it stood, or name the run's store"
        )
    damage = store.damage("run", signature)
    raise KdbenchError(
        f"the run {signature} in the store {store.root} is damaged ({damage}): run `kdbench-store prune --damaged` and "
        "repeat the command that made it"
    )


def _of_folder(folder: Path) -> str:
    for name in (POINTER, RECORD):
        if (folder / name).is_file():
            content = read_json(folder / name)
            if isinstance(content, dict) and isinstance(content.get("signature"), str):
                return str(content["signature"])
    if (folder / SWEEP).is_file():
        jobs = [job for job in read_json(folder / SWEEP)["jobs"] if job.get("signature")]
        example = f", such as {jobs[0]['signature']}" if jobs else ""
        raise KdbenchError(
            f"{folder} is a sweep of {len(jobs)} runs: name one of them by its folder or signature{example}"
        )
    raise KdbenchError(
        f"the folder {folder} holds no {POINTER}: name a run by its signature, which `kdbench-store list --kind run` "
        "shows, or by the folder that its log names"
    )


def _of_prefix(prefix: str, store: Store) -> str:
    runs = [artefact for artefact in store.artefacts("run") if artefact.signature.startswith(prefix)]
    found = sorted({artefact.signature for artefact in runs if artefact.state in ("whole", "damaged")})
    started = sorted({artefact.signature for artefact in runs if artefact.state == "partial"})
    if prefix in found or len(found) == 1:
        return prefix if prefix in found else found[0]
    if len(found) > 1:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise KdbenchError(f"run={prefix} is the beginning of {len(found)} runs ({shown}): write more of it")
    if len(started) == 1:
        return started[0]
    raise KdbenchError(
        f"run={prefix} is no run in the store {store.root}: `kdbench-store list --kind run` shows those that are, and "
        "KDBENCH_STORE or the option for the store leads to another"
    )


def _store_of(reference: str) -> Path | None:
    """The store that a folder names or lies in."""
    folder = Path(reference).expanduser()
    if (folder / POINTER).is_file():
        content: Any = read_json(folder / POINTER)
        return Path(content["store"]) if isinstance(content, dict) and content.get("store") else None
    return folder.absolute().parent.parent if (folder / RECORD).is_file() else None
