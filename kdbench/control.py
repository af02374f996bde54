"""The control of a sweep's cell: the same student, beginning, data, steps and seed, without what the study varies.

Nothing here composes or runs, as in `kdbench.grid`: a cell's overrides go in, its control's come out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdbench.config import STUDY_AXES
from kdbench.error import KdbenchError
from kdbench.grid import Cell, parse
from kdbench.team import GROUPS as TEAM

_TERM_LEVEL = re.compile(rf"({'|'.join((*STUDY_AXES, *TEAM))})(\.|$)|stages\.[^.]+\.terms(\.|$)|[^@]+@stages(\.|$)")
"""Keys that say what is taught: the study's axes with their options, the team, the terms of a stage, what is put into
one."""


def replacements(overrides: Sequence[str], config_loader: Any = None) -> dict[str, str]:
    """What makes a cell its control, by key: `hydra.sweeper.control`, in the order in which it is written.

    Raises:
        KdbenchError: an override of several values; a control is one run.
    """
    axes = parse(list(overrides), config_loader)
    for axis in axes:
        if len(axis.choices) > 1:
            values = ",".join(choice.text for choice in axis.choices)
            raise KdbenchError(
                f"hydra.sweeper.control has several values for {axis.key} ({values}), but a cell has one control: "
                "give one of them"
            )
    return {axis.key: axis.choices[0].override for axis in axes}


def controls(cells: Sequence[Cell], put: dict[str, str]) -> tuple[Cell, ...]:
    """The control of each cell, in the cells' order; cells that differ in what is taught alone have the same one.

    Args:
        cells: of a grid.
        put: the control's own overrides by key, each at the place of the cell's of the same key, else at the end.
    """
    found = [_control(cell.overrides, put) for cell in cells]
    shared = set.intersection(*map(set, found)) - set(put.values()) if found else set()
    return tuple(
        Cell(overrides, " ".join(override for override in overrides if override not in shared)) for overrides in found
    )


def _control(overrides: Sequence[str], put: dict[str, str]) -> tuple[str, ...]:
    left = dict(put)
    kept = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in put:
            kept += [left.pop(key)] if key in left else []
        elif not _TERM_LEVEL.match(key):
            kept.append(override)
    return (*kept, *left.values())
