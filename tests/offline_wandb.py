"""Reads the offline runs of W&B back, from the file that `wandb sync` uploads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format, blocks of 32 KiB, headers of 7 bytes, a file header of 7."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(message)
            message = b""


def read_run(folder: Path) -> dict[str, Any]:
    """What the one W&B run below a job's folder holds; the end of the file is written a moment after `finish`."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30
    while (found := read_file(file))["exit"] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def read_file(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"config": {}, "summary": {}, "history": [], "artifacts": [], "exit": None}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"group": record.run.run_group, "name": record.run.display_name, "tags": list(record.run.tags)}
            found |= {"project": record.run.project, "job_type": record.run.job_type}
            found |= {"id": record.run.run_id, "sweep": record.run.sweep_id}
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "summary":
            found["summary"] |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"].append({key: value for key, value in row.items() if not key.startswith("_")})
        elif kind == "artifact":
            found["artifacts"].append((record.artifact.name, record.artifact.type))
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def read_table(run: Path, name: str) -> dict[str, Any]:
    """Columns and data of a table that a run below a job's folder logged."""
    (folder,) = run.glob("wandb/offline-run-*/files/media/table")
    (file,) = folder.glob(f"{name}_*.table.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found
