"""What a search looks for: numbers of a finished run's record, which way is better, and what they may not exceed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.error import KdbenchError

COSTS = {
    "parameters": ("student", "parameters", "total"),
    "flops": ("student", "flops"),
    "bytes": ("student", "bytes"),
    "latency": ("student", "latency_ms", "batch_1"),
    "latency_32": ("student", "latency_ms", "batch_32"),
}
"""Where in a record the costs are; of all of them less is better. Latencies are in milliseconds."""

SCORE = "score"
"""The task's own: the first of its metrics, on the validation rows."""

LESS = ("perplexity",)
"""Metrics of which less is better, as the costs."""

BOUND = re.compile(r"^\s*(<=|>=)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*$")


@dataclass(frozen=True)
class Objective:
    """One number of a record.

    Attributes:
        name: `score`, a cost, or a metric as the record has it (`validation/f1`).
        direction: `maximize` or `minimize`.
    """

    name: str
    direction: str

    @property
    def metric(self) -> str | None:
        """What the evaluations of a training have of it: a metric on the validation rows, or `score`; else None."""
        return self.name if self.name == SCORE or self.name.startswith("validation/") else None

    def value(self, record: Mapping[str, Any]) -> float:
        """Of a finished run.

        Raises:
            KdbenchError: a metric that the run does not have, or one that is no finite number.
        """
        found = _read(record, self.name)
        if not math.isfinite(found):
            raise KdbenchError(f"{self.name} is {found}, which a search cannot compare: choose another objective")
        return found


@dataclass(frozen=True)
class Constraint:
    """What a number may be at most, or at least.

    Attributes:
        name: as of an objective.
        at_most: otherwise at least.
        bound: in the number's own unit.
    """

    name: str
    at_most: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.name} {'<=' if self.at_most else '>='} {self.bound:g}"

    def violation(self, record: Mapping[str, Any]) -> float:
        """By how much a finished run lies beyond it; at most 0 where it does not."""
        beyond = _read(record, self.name) - self.bound
        return beyond if self.at_most else -beyond


def objectives(names: Sequence[str] | str, directions: Sequence[str] | str | None) -> list[Objective]:
    """The objectives of `hydra.sweeper.objectives`, in the directions of `hydra.sweeper.direction`, or in their own.

    Args:
        names: one, or several.
        directions: one for each; None: their own.

    Raises:
        KdbenchError: directions that are none, or of another number.
    """
    names = [names] if isinstance(names, str) else [str(each) for each in names or ()]
    if not names or len(set(names)) < len(names):
        raise KdbenchError(f"hydra.sweeper.objectives={list(names)} must name one number or several different ones")
    given = [directions] if isinstance(directions, str) else list(directions or map(_own_direction, names))
    if len(given) != len(names):
        raise KdbenchError(
            f"hydra.sweeper.direction={given} must have one direction for each of the objectives {list(names)}"
        )
    if unknown := [each for each in given if each not in ("maximize", "minimize")]:
        raise KdbenchError(f"hydra.sweeper.direction={unknown[0]} is unknown: choose maximize or minimize")
    return [Objective(name, direction) for name, direction in zip(names, given, strict=True)]


def constraints(node: Mapping[str, str] | None) -> list[Constraint]:
    """The constraints of `hydra.sweeper.constraints`, as `{latency: "<= 5", validation/accuracy: ">= 0.7"}`.

    Raises:
        KdbenchError: a bound that cannot be read.
    """
    if node is not None and not isinstance(node, Mapping):
        raise KdbenchError(
            f"hydra.sweeper.constraints={node} names no numbers: write a bound for each, as "
            "hydra.sweeper.constraints={latency: '<= 5'}"
        )
    found = []
    for name, bound in (node or {}).items():
        if (read := BOUND.match(str(bound))) is None:
            raise KdbenchError(
                f"hydra.sweeper.constraints.{name}={bound} is no bound: write it as '<= 5' or '>= 0.7', with quotes"
            )
        found.append(Constraint(str(name), read[1] == "<=", float(read[2])))
    return found


def refuse_unknown(names: Sequence[str], metrics: Sequence[str], key: str) -> None:
    """Refuse a name that no run of the task will have.

    Args:
        names: of objectives, or of constraints.
        metrics: of the task.
        key: of the refusal.

    Raises:
        KdbenchError: with those that there are.
    """
    for name in names:
        split, _, metric = name.partition("/")
        if name not in (SCORE, *COSTS) and not (metric in metrics and split in ("validation", "test")):
            known = ", ".join([SCORE, *COSTS, *(f"validation/{each}" for each in metrics)])
            raise KdbenchError(f"{key}={name} is no number of a run of this task: choose among {known}")


def _own_direction(name: str) -> str:
    return "minimize" if name in COSTS or name.rpartition("/")[2] in LESS else "maximize"


def _read(record: Mapping[str, Any], name: str) -> float:
    if name in COSTS:
        found: Any = record
        for key in COSTS[name]:
            found = found[key]
        return float(found)
    metric = record["score"] if name == SCORE else name
    if metric not in record["metrics"]:
        there = ", ".join(record["metrics"])
        raise KdbenchError(f"{name} is no metric of this run, which has {there}: choose one of them, or a cost")
    return float(record["metrics"][metric])
