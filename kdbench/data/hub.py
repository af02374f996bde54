"""The source `hub`: a data set of the Hugging Face hub, through `datasets.load_dataset`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.source import Fingerprint, Source, Table
from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import datasets

COMMIT = re.compile("[0-9a-f]{40}")


class Hub(Source):
    """`load_dataset(path, name, revision=revision)`; splits take the library's own slices, as in `train[:90%]`.

    Its identity is (path, name, revision), not the rows: without a revision the hub's current state is read once, and
    a later change over there goes unseen. Pin the revision for anything that is to be repeated.
    """

    def __init__(self, path: str, name: str | None = None, revision: str | None = None) -> None:
        self.path = path
        self.name = name
        self.revision = revision

    def identity(self, split: str, root: Path, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """The address; nothing is asked of the network."""
        return {"path": self.path, "name": self.name, "revision": self.revision, "split": split}

    def read(self, split: str, root: Path) -> Table | None:
        """Download the split, or take it from the library's cache."""
        import datasets

        try:
            rows = datasets.load_dataset(self.path, self.name, split=split, revision=self.revision)
        except ValueError as error:
            if "Unknown split" in str(error):
                return None
            raise self._unreachable(error) from error
        except Exception as error:  # the network, the hub and the file formats each have exceptions of their own
            raise self._unreachable(error) from error
        self._check_revision(rows)
        features = rows.features.items()
        classes = {name: tuple(f.names) for name, f in features if isinstance(f, datasets.ClassLabel)}
        return Table(rows.to_pandas(), classes)

    def lacks(self, split: str, root: Path, key: str = "data") -> str:
        """Name the data set and the split."""
        return f"{self.path} {self.name or ''} on the hub has no split {split}: correct {key}.splits"

    def _check_revision(self, rows: datasets.Dataset) -> None:
        """Without the hub the library takes its newest cached copy, whatever revision was asked for: refuse another."""
        if not rows.cache_files or self.revision is None:
            return
        found = Path(rows.cache_files[0]["filename"]).parent.name
        if COMMIT.fullmatch(self.revision) and COMMIT.fullmatch(found) and found != self.revision:
            raise KdbenchError(
                f"the hub was not reached and the cached copy is of revision {found[:12]}, not {self.revision[:12]}"
                f": go online once to load it, or set hub.revision={found}"
            )

    def _unreachable(self, error: Exception) -> KdbenchError:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
        offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
        way = "unset HF_HUB_OFFLINE to download it" if offline else "check the name and the network"
        return KdbenchError(
            f"source=hub cannot load {self.path} {self.name or ''} ({reason}): "
            f"{way}, or take source=folder with paths.data set to a folder that has it"
        )
