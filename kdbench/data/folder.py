"""The source `folder`: one parquet, CSV or JSON-lines file per split, in a folder below `paths.data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.source import Fingerprint, Source, Table
from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv", ".jsonl")


class Folder(Source):
    """Files `<paths.data>/<path>/<split>.{parquet,csv,jsonl}`; an absolute path stands for itself."""

    def __init__(self, path: str) -> None:
        self.path = path

    def identity(self, split: str, root: Path, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """The content of the split's files."""
        files = self._files(split, root)
        return None if files is None else {"files": [[file.suffix, fingerprint(file)] for file in files]}

    def read(self, split: str, root: Path) -> Table | None:
        """The files of the split, one after the other."""
        import pandas as pd

        files = self._files(split, root)
        if files is None:
            return None
        tables = [_read(file) for file in files]
        if len(tables) == 1:
            return tables[0]
        return Table(pd.concat([table.frame for table in tables], ignore_index=True), tables[0].classes)

    def lacks(self, split: str, root: Path, key: str = "data") -> str:
        """Name the path, and what is there instead."""
        folder = root / self.path
        if folder.is_dir():
            there = ", ".join(sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)) or "nothing"
            return f"{folder} has no {split}.parquet, .csv or .jsonl, it has {there}: correct {key}.splits"
        way = f"set paths.data (or KDBENCH_DATA) to a folder that has it, or take {key}.source=hub"
        if not folder.parent.is_dir():
            return f"there is no folder {folder}: {way}"
        there = ", ".join(sorted(path.name for path in folder.parent.iterdir() if path.is_dir())) or "nothing"
        return f"there is no folder {folder}, beside it there is {there}: {way}"

    def _files(self, split: str, root: Path) -> list[Path] | None:
        files: list[Path] = []
        for part in split.split("+"):
            candidates = [root / self.path / f"{part.strip()}{suffix}" for suffix in SUFFIXES]
            found = [file for file in candidates if file.is_file()]
            if len(found) > 1:
                names = " and ".join(file.name for file in found)
                raise KdbenchError(f"{found[0].parent} has {names} for one split: keep one of them")
            if not found:
                return None
            files += found
        return files


def _read(file: Path) -> Table:
    import pandas as pd
    import pyarrow as pa

    try:
        if file.suffix == ".parquet":
            return _parquet(file)
        if file.suffix == ".csv":
            # Everything as text: a sentence "NA" or "007" stays what it is, and labels are read by our own rules.
            return Table(pd.read_csv(file, dtype=str, keep_default_na=False))
        return Table(_json_lines(file))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n")[0]
        raise KdbenchError(
            f"{file} cannot be read as {file.suffix[1:]} ({reason}): repair or replace the file"
        ) from error


def _json_lines(file: Path) -> pd.DataFrame:
    import pandas as pd

    rows = []
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            rows.append(row)
    # dtype=object keeps 1 and "1" and null apart, where a table of floats would not.
    return pd.DataFrame(rows, dtype=object)


def _parquet(file: Path) -> Table:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    classes = {
        column: tuple(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    return Table(table.to_pandas(), classes)
