"""The trials of a search as its `sweep.json` has them: also those that no table of runs can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One trial. `state` is finished, pruned, impossible or failed; `best` says whether it is the study's best one, or
    on its front; `within` whether a finished one keeps the bounds."""

    number: int
    state: str
    values: tuple[float, ...]
    params: Mapping[str, Any]
    within: bool
    best: bool
    reason: str


@dataclass(frozen=True)
class Trials:
    """Those of one search. `objectives` are names and directions; without values a trial has as many NaN."""

    name: str
    study: str
    objectives: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...]
    trials: tuple[Trial, ...]


def trials_of(content: Mapping[str, Any], name: str) -> Trials | None:
    """What a `sweep.json` says of a search; None of a sweep, and of a file that an earlier version wrote."""
    found = content.get("search")
    if not found:
        return None
    objectives = tuple((str(each["name"]), str(each["direction"])) for each in found["objectives"])
    return Trials(
        name,
        str(found["study"]),
        objectives,
        tuple(map(str, found["constraints"])),
        tuple(
            Trial(
                int(each["number"]), str(each["state"]),
                tuple(map(float, each["values"] or [nan] * len(objectives))), dict(each["params"]),
                bool(each["within"]), bool(each["best"]), str(each["reason"] or ""),
            )
            for each in found["trials"]
        ),
    )  # fmt: skip
