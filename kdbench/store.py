"""The store: every artefact is computed once, under its signature, and is whole or absent.

`<root>/<kind>/<signature>/` with a `manifest.json` is a whole artefact; `<signature>.partial/` is work in progress (or
what a killed process left, to be resumed); `<signature>.lock` is held by the process that works on it; a
`<signature>.removed/` is what an interrupted deletion left. Lock files stay: removing one could split its waiters.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdbench.artefact import Artefact, delete_leftovers, find_damage, look_at, seal, sync
from kdbench.disk_fault import OTHER_STORE, explain
from kdbench.error import KdbenchError
from kdbench.json_file import read_json, write_json

__all__ = ["Artefact", "Store", "read_json", "write_json"]

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class Store:
    """The artefacts under one folder, which is made when the first artefact is computed."""

    def __init__(self, root: str | Path) -> None:
        # Absolute from the start: a run may change its working directory.
        self.root = Path(root).expanduser().absolute()
        if self.root.exists() and not self.root.is_dir():
            raise KdbenchError(f"paths.store={self.root} is a file, not a folder: {OTHER_STORE}")

    @property
    def fingerprints(self) -> Path:
        """The cache for `kdbench.signature.file_fingerprint`."""
        return self.root / "fingerprints.json"

    def path(self, kind: str, signature: str) -> Path:
        return self.root / _name("kind", kind) / _name("signature", signature)

    def partial(self, kind: str, signature: str) -> Path:
        return self._beside(kind, signature, "partial")

    def has(self, kind: str, signature: str) -> bool:
        """Whether the whole artefact is there: its manifest, and every listed file with its size (not hashed)."""
        return self.path(kind, signature).exists() and self.damage(kind, signature) is None

    def damage(self, kind: str, signature: str, hashed: bool = False) -> str | None:
        """What is wrong with an artefact, in a few words, or None; `hashed` compares contents besides sizes."""
        return find_damage(self.path(kind, signature), kind, signature, hashed)

    def obtain(self, kind: str, signature: str, build: Callable[[Path], None]) -> Path:
        """The folder of a whole artefact, built now if it is not there.

        `build` is called with the partial folder, which may hold what an earlier, killed attempt left. If it raises,
        the partial folder stays. Another process that works on the same artefact is waited for. A damaged artefact, a
        full disk and a store that cannot be written raise a KdbenchError; nothing is deleted.
        """
        return self.obtain_all(kind, [signature], lambda partials: build(partials[signature]))[signature]

    def obtain_all(
        self, kind: str, signatures: Iterable[str], build: Callable[[Mapping[str, Path]], None]
    ) -> dict[str, Path]:
        """As `obtain`, for artefacts that are made together: `build` is given the partial folders of those missing."""
        folders = {signature: self.path(kind, signature) for signature in signatures}
        # In one order for everybody: two processes that lock several artefacts never wait for each other.
        missing = sorted(signature for signature, folder in folders.items() if not folder.exists())
        with self._faults(f"computing the {kind} {', '.join(missing)}"), ExitStack() as locks:
            for signature in missing:
                locks.enter_context(self._locked(kind, signature))
            self._build(kind, [signature for signature in missing if not folders[signature].exists()], build)
        for signature in folders:
            if (damage := self.damage(kind, signature)) is not None:
                raise self.damaged(kind, signature, damage)
        return folders

    def damaged(self, kind: str, signature: str, damage: str) -> KdbenchError:
        """The refusal of an artefact that a command needs; `damage` as the method of that name says it."""
        return KdbenchError(
            f"the {kind} {signature} in the store {self.root} is damaged ({damage}): "
            "run `kdbench-store prune --damaged` and repeat the command, which computes it again"
        )

    def artefacts(self, kind: str | None = None) -> list[Artefact]:
        """Every artefact, whole or not, in the order of kind and signature (contents are not hashed)."""
        with self._faults("listing what it holds"):
            kinds = [_name("kind", kind)] if kind is not None else [folder.name for folder in _folders(self.root)]
            found = [look_at(folder, name) for name in kinds for folder in _folders(self.root / name)]
        return [artefact for artefact in found if artefact is not None]

    def remove(self, artefact: Artefact) -> bool:
        """Delete an artefact, whole or not; False, and nothing done, where a process holds its lock."""
        removed = self._beside(artefact.kind, artefact.signature, "removed")
        with self._faults(f"deleting the {artefact.kind} {artefact.signature}"):
            lock = self._lock(artefact.kind, artefact.signature)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            try:
                # Renamed first: an interrupted deletion must not leave half an artefact under a whole one's name.
                if artefact.path.exists() and artefact.path != removed:
                    shutil.rmtree(removed, ignore_errors=True)
                    os.replace(artefact.path, removed)
                if removed.exists():
                    shutil.rmtree(removed)
            finally:
                lock.release()
        return True

    def held(self, kind: str, signature: str) -> bool:
        """Whether a process works on this artefact now."""
        if not self._beside(kind, signature, "lock").exists():
            return False
        lock = self._lock(kind, signature)
        with self._faults(f"looking at the {kind} {signature}"):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            lock.release()
        return False

    def _build(self, kind: str, signatures: Sequence[str], build: Callable[[Mapping[str, Path]], None]) -> None:
        partials = {signature: self.partial(kind, signature) for signature in signatures}
        for partial in partials.values():
            partial.mkdir(exist_ok=True)
        start = time.monotonic()
        # A manifest in a partial folder is the sign of a process that was killed after its build, before the rename.
        unmade = {
            signature: partial
            for signature, partial in partials.items()
            if find_damage(partial, kind, signature, hashed=True) is not None
        }
        if unmade:
            build(unmade)
        for signature, partial in partials.items():
            if signature in unmade:
                seal(partial, kind, signature, time.monotonic() - start)
            delete_leftovers(partial)
            sync(partial)
            os.replace(partial, self.path(kind, signature))
            sync(partial.parent)

    def _beside(self, kind: str, signature: str, suffix: str) -> Path:
        folder = self.path(kind, signature)
        return folder.with_name(f"{folder.name}.{suffix}")

    def _lock(self, kind: str, signature: str) -> FileLock:
        path = self._beside(kind, signature, "lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise KdbenchError(
                f"paths.store={self.root} cannot be made, a file is in its place: {OTHER_STORE}"
            ) from error
        return FileLock(path, poll_interval=POLL_SECONDS)

    @contextmanager
    def _locked(self, kind: str, signature: str) -> Iterator[None]:
        lock = self._lock(kind, signature)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for the %s %s, which another process is computing", kind, signature)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        """Turn a full disk and a folder that cannot be written into one sentence; the rest passes unchanged."""
        try:
            yield
        except KdbenchError:
            raise
        except Exception as error:
            if (sentence := explain(error, self.root, doing)) is None:
                raise
            raise KdbenchError(sentence) from error


def _name(what: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise KdbenchError(f"{value!r} is no {what} of the store: `kdbench-store list` shows those it holds")
    return value


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
