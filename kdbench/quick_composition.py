"""A third of composing a configuration is spent on a map that nobody reads; sweeps of hundreds of cells wait for it.

Hydra 1.3 makes, for every file of a defaults list, a config of all choices, in which it would look up an entry such as
`- optimizer: ${model}`. Lists without such an entry, all of ours among them, never look. The map is left out for them,
and made for any other, so that what is composed is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MAP = "_create_interpolation_map"


def compose_quickly() -> None:
    """Let Hydra leave the map out where no entry interpolates. A Hydra without that function stays as it is."""
    from hydra._internal import defaults_list

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
