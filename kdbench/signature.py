"""Signatures: the same question has the same sixteen hex digits, whoever asks it and in whatever order of keys."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from kdbench.error import KdbenchError
from kdbench.json_file import plain, read_json, write_json

log = logging.getLogger(__name__)

DIGITS = 16
RECENT_NANOSECONDS = 2_000_000_000
"""A file changed less than this long ago may change again within one tick of its time stamp: not remembered yet."""


def signature(kind: str, content: Mapping[str, object]) -> str:
    """The first 16 hex digits of the SHA-256 of the content's canonical JSON, and of its kind.

    Keys are sorted; lists and tuples are equal; 1, 1.0 and true are three different values; floats count to their last
    bit. What JSON cannot hold (NaN, objects, keys that are no strings) raises a KdbenchError.
    """
    value = {"kind": kind, "content": plain(content, kind)}
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:DIGITS]


def versions(node: object) -> dict[str, int]:
    """The version of each option's mathematics in a config node, by its `_target_`.

    A module says `VERSION: int` and raises it when a repair changes results. A module of kdbench without one has
    version 1; any other module without one (PyTorch's, a user's) is left out.
    """
    found: dict[str, int] = {}
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if isinstance(target, str) and (version := _version(target)) is not None:
            found[target] = version
        for key in node:
            found |= versions(node[key])
    elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
        for item in node:
            found |= versions(item)
    return found


@functools.cache
def _version(target: str) -> int | None:
    module, named = _resolve(target)
    # A package may re-export what a module inside it defines, and the version stands beside the definition.
    definer = getattr(named, "__module__", None)
    for name in (module.__name__, definer):
        version = getattr(importlib.import_module(name), "VERSION", None) if isinstance(name, str) else None
        if isinstance(version, int) and not isinstance(version, bool):
            return version
    return 1 if module.__name__.split(".")[0] == "kdbench" else None


def _resolve(target: str) -> tuple[ModuleType, object]:
    """The module that a dotted target names, and the object in it."""
    refusal = f"_target_ {target!r} cannot be found"
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Missing is this module (try a shorter name) or one that it needs (say which).
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise KdbenchError(f"{refusal}: {name} needs the module {error.name!r}, which is not installed") from error
        named: object = module
        for part in parts[cut:]:
            if not hasattr(named, part):
                raise KdbenchError(f"{refusal}: {name} has no {'.'.join(parts[cut:])!r}, so correct the spelling")
            named = getattr(named, part)
        return module, named
    raise KdbenchError(f"{refusal}: there is no module {parts[0]!r}, so correct the spelling or install it")


def file_fingerprint(path: Path, cache: Path | None = None) -> str:
    """The first 16 hex digits of the SHA-256 of a file's content, remembered by path, size and time of change.

    `cache` is a small JSON file (the store's `fingerprints.json`) that several processes may update at once; without
    it, or where it cannot be written, the file is hashed each time. A corrupt cache is started anew.
    """
    path = Path(path).resolve()
    before = _state(path)
    remembered = _remembered(cache).get(str(path)) if cache is not None else None
    if isinstance(remembered, dict) and {name: remembered.get(name) for name in before} == before:
        found = remembered.get("fingerprint")
        if isinstance(found, str):
            return found
    with open(path, "rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    settled = time.time_ns() - before["mtime_ns"] > RECENT_NANOSECONDS and _state(path) == before
    if cache is not None and settled:
        _remember(cache, str(path), {**before, "fingerprint": fingerprint})
    return fingerprint


def _state(path: Path) -> dict[str, int]:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise KdbenchError(f"there is no file {path}: check the path of the data") from error
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _remembered(cache: Path) -> dict[str, object]:
    if not cache.exists():
        return {}
    try:
        value = read_json(cache)
    except KdbenchError:
        log.info("%s is unreadable and is started anew", cache)
        return {}
    return value if isinstance(value, dict) else {}


def _remember(cache: Path, path: str, entry: Mapping[str, object]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_name(f"{cache.name}.lock")):
            write_json(cache, {**_remembered(cache), path: entry})
    except OSError as error:  # a store that is full or only readable costs time here, never the fingerprint
        log.info("the fingerprint of %s is not remembered in %s: %s", path, cache, error.strerror)
