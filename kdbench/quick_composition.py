"""Two things that Hydra 1.3 does again and again while it composes, half of its time; sweeps of hundreds of cells wait
for it. What is composed stays the same.

- For every file of a defaults list it makes a config of all choices, in which it would look up an entry such as
  `- optimizer: ${model}`. Lists without such an entry, all of ours among them, never look: the map is left out there.
- For every cell it parses all YAML files again: a file that has not changed since is copied from memory.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

_MAP = "_create_interpolation_map"


def compose_quickly() -> None:
    """Let Hydra leave out maps and parse files once. A Hydra without those functions stays as it is."""
    from hydra._internal import defaults_list
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers the sources
    source = SourcesRegistry.instance().types.get("file")
    if source is not None and not hasattr(source.load_config, "parsing"):
        source.load_config = _once(source.load_config)  # type: ignore[method-assign]

    made = getattr(defaults_list, _MAP, None)
    if made is not None and not hasattr(made, "everywhere"):
        setattr(defaults_list, _MAP, _where_it_is_read(made))


def _where_it_is_read(made: Callable[..., Any]) -> Callable[..., Any]:
    from omegaconf import OmegaConf

    def create(overrides: Any, entries: list[Any], self_added: bool) -> Any:
        if any(entry.is_interpolation() for entry in entries):
            return made(overrides, entries, self_added)
        return OmegaConf.create()

    create.everywhere = made  # type: ignore[attr-defined]
    return create


def _once(parsing: Callable[..., Any]) -> Callable[..., Any]:
    """Remembers what a file holds until another file is there or it has been written anew."""
    known: dict[tuple[str, str, str], tuple[tuple[int, ...], Any]] = {}

    def load_config(self: Any, config_path: str) -> Any:
        try:
            file = os.stat(os.path.join(self.path, self._normalize_file_name(config_path)))
        except OSError:
            return parsing(self, config_path)  # says what is missing
        state = file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns
        asked = self.provider, self.path, config_path
        if asked not in known or known[asked][0] != state:
            known[asked] = state, parsing(self, config_path)
        return copy.deepcopy(known[asked][1])

    load_config.parsing = parsing  # type: ignore[attr-defined]
    return load_config
