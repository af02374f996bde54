"""JSON as kdbench writes it: plain values only, no NaN, a file that is whole or absent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from kdbench.error import KdbenchError

TEMPORARY = ".tmp-"
"""Prefix of a file that is being written; a killed process may leave one behind, which means nothing."""


def plain(value: object, place: str = "value") -> Any:
    """The value as dicts with string keys, lists, strings, numbers, booleans and None; anything else is refused.

    Mappings and sequences of any class (an OmegaConf node, a tuple) become dicts and lists. NaN, infinities, other
    objects and keys that are no strings raise a KdbenchError that names their place, e.g. `record.metrics.test/f1`.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise KdbenchError(f"{place} is {float(value)}, which JSON cannot hold: give it a finite number or null")
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise KdbenchError(f"{place} has the key {key!r}, which is no string: JSON keys are strings")
        return {key: plain(value[key], f"{place}.{key}") for key in value}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    kind = type(value).__name__
    raise KdbenchError(f"{place} is a {kind}, which JSON cannot hold: give it a number, a string, a list or a mapping")


def write_json(path: Path, value: object) -> None:
    """Write a value as UTF-8 JSON with sorted keys, atomically: a reader sees the old file or the new one."""
    text = json.dumps(plain(value, path.stem), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # Not tempfile: its files are readable by their owner alone, which a store shared by a group cannot use.
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid4().hex[:8]}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The value of a JSON file; a missing, half-written or otherwise unreadable one is a KdbenchError."""
    way_out = "delete it, or run `kdbench-store prune --damaged` if it lies in a store"
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise KdbenchError(f"{path} is missing: check the path, or compute it again") from error
    except ValueError as error:  # of the JSON syntax or of UTF-8
        raise KdbenchError(f"{path} is not readable as JSON ({error}): {way_out}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
