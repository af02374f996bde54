"""The table of the trials of a search, with the best or the front marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from typing import Any

from kdbench.report.column import Column, numbers, told, words
from kdbench.report.number import percent, rough
from kdbench.report.printed_answer import Section
from kdbench.report.trial import Trials
from kdbench.search.objective import COSTS, LESS

TITLE = "Trials"


def trial_sections(searches: Sequence[Trials]) -> list[Section]:
    """A table for each search; the figure stands in the first one's."""
    return [
        Section(
            "trials" if place == 0 else f"trials-{place + 1}",
            TITLE if len(searches) == 1 else f"{TITLE} of {search.name}",
            told(_columns(search)),
            _note(search),
            [],
        )
        for place, search in enumerate(searches)
    ]


def shown_as(name: str) -> tuple[str, float, Callable[[float], str]]:
    """The title of an objective, what its values are multiplied with in a figure, and a value as text."""
    if name.startswith("latency"):
        return f"{name} (ms)", 1.0, rough
    if name in COSTS:
        return name, 1.0, lambda value: f"{value:.0f}"
    if name.rpartition("/")[2] in LESS:
        return name, 1.0, rough
    return f"{name} (%)", 100.0, lambda value: percent(value, 2)


def best_is(search: Trials) -> str:
    """What the best trials of a search are called."""
    return "best" if len(search.objectives) == 1 else "front"


def _columns(search: Trials) -> list[Column]:
    trials = search.trials
    columns = [numbers("trial", (each.number for each in trials), lambda value: f"{value:.0f}")]
    columns.append(words("state", (each.state for each in trials)))
    for place, (name, _) in enumerate(search.objectives):
        title, _, text = shown_as(name)
        columns.append(numbers(title, (each.values[place] for each in trials), text))
    if search.constraints:
        told_apart = ({True: "yes", False: "no"}[each.within] if each.state == "finished" else "" for each in trials)
        columns.append(words("within bounds", told_apart))
    columns.append(words(best_is(search), ("yes" if each.best else "" for each in trials)))
    keys = dict.fromkeys(key for each in trials for key in each.params)
    columns += [_values(key, [each.params.get(key) for each in trials]) for key in keys]
    return [*columns, words("reason", (each.reason for each in trials))]


def _values(key: str, values: Sequence[Any]) -> Column:
    """The values of a searched key; blank where a trial was not asked for it."""
    if any(isinstance(value, str) for value in values):
        return words(key, ("" if value is None else value for value in values))
    return numbers(key, (nan if value is None else value for value in values), lambda value: f"{value:.4g}")


def _note(search: Trials) -> str:
    looked = ", ".join(f"{direction} {name}" for name, direction in search.objectives)
    within = f", within {', '.join(search.constraints)}" if search.constraints else ""
    which = (
        "best: the first of the finished trials with the best value"
        if len(search.objectives) == 1
        else "front: the finished trials that no other finished one beats in every objective"
    )
    bounds = ", all of them within the bounds" if search.constraints else ""
    last = "A pruned trial has the value of its last evaluation."
    return f"Study {search.study}: {looked}{within}. {which}{bounds}. {last}"
