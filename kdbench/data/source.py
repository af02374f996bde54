"""Where tables come from: what a source hands out, and how the config chooses one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import pandas as pd

Fingerprint = Callable[[Path], str]


@dataclass(frozen=True)
class Table:
    """The rows of one split. `classes` holds the names of the classes by column, where the source declares them."""

    frame: pd.DataFrame
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Source(ABC):
    """A place that has tables by the names of their splits. A split may be a sum, as in `train+unsupervised`."""

    @abstractmethod
    def identity(self, split: str, root: Path, fingerprint: Fingerprint) -> dict[str, Any] | None:
        """What determines the rows of a split, as JSON; None if the source is known to lack it. Reads no rows.

        `root` is the folder `paths.data`; `fingerprint` gives the hash of a file.
        """

    @abstractmethod
    def read(self, split: str, root: Path) -> Table | None:
        """The rows of a split, in the source's order; None if the source lacks it."""

    @abstractmethod
    def lacks(self, split: str, root: Path, key: str = "data") -> str:
        """The sentence for a split that is not there: where it was looked for and the way out. `key` is where the data
        stand in the configuration."""


def choose(data: Mapping[str, Any]) -> Source:
    """Build the source that `data.source` names: any key of `data` that holds a `_target_` and all it needs."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    key = "corpus" if data["kind"] == "words" else "data"
    nodes = {name: node for name, node in data.items() if isinstance(node, Mapping) and "_target_" in node}
    nodes.pop("masking", None)
    ready = [name for name, node in nodes.items() if all(value is not None for value in _needed(node))]
    if data["source"] not in ready:
        raise KdbenchError(
            f"{key}.source={data['source']} is not to be had for {data['name']}: "
            f"choose {' or '.join(ready) or 'another data set'}, or set {key}.{data['source']}.path"
        )
    try:
        source: Source = instantiate(nodes[data["source"]], _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, KdbenchError):
            raise error.__cause__ from None
        raise KdbenchError(f"{key}.{data['source']} cannot be used ({error.__cause__}): correct its keys") from error
    return source


def _needed(node: Mapping[str, Any]) -> list[Any]:
    return [node[key] for key in ("path",) if key in node]
