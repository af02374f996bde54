"""A sweep as a grid: the axes, which of them move together, which cells are left out, and so the list of cells.

Nothing here composes or runs: overrides go in, lists of overrides come out. Hydra's grammar is kept: `seed=1,2`,
`range(1,4)`, `choice(a,b)`, `glob(*)`; what is no sweep passes through as it was written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.error import KdbenchError


@dataclass(frozen=True)
class Choice:
    """One value of one axis: the override that makes it, and the value as text, by which it is compared."""

    key: str
    override: str
    text: str


@dataclass(frozen=True)
class Axis:
    """A key of the command line and its values; a single value for what the sweep does not vary.

    `key` is without the `+`, `++` or `~` that the overrides carry.
    """

    key: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Cell:
    """One job: its overrides, and those of them that tell it from the others, for people."""

    overrides: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Grid:
    """The cells in the order of the axes (the last one moves fastest), and what the exclusions did."""

    cells: tuple[Cell, ...]
    excluded: tuple[Cell, ...] = ()
    idle: tuple[str, ...] = ()  # exclusions that match no cell


def parse(overrides: Sequence[str], config_loader: Any = None) -> list[Axis]:
    """The axes that overrides describe, in their order; a later override of the same key replaces an earlier one.

    Args:
        overrides: as on the command line.
        config_loader: Hydra's, which `glob(*)` asks for the options of a group.

    Raises:
        KdbenchError: an interval, which has no list of values, or an empty list of them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    axes: dict[str, Axis] = {}
    for override in OverridesParser.create(config_loader=config_loader).parse_overrides(list(overrides)):
        element = override.get_key_element()
        if not override.is_sweep_override():
            line = override.input_line or element
            choices = [(line, as_text(override.value()))]
        elif override.is_discrete_sweep():
            pairs = [(_as_override(value), as_text(value)) for value in override.sweep_iterator()]
            choices = [(f"{element}={written}", text) for written, text in pairs]
        else:
            raise KdbenchError(f"{override.input_line} has no list of values to sweep over: write them out, as a,b,c")
        if not choices:
            raise KdbenchError(f"{override.input_line} is an empty list of values: give it at least one")
        key = element.lstrip("+~")
        axes[element] = Axis(key, tuple(Choice(key, line, text) for line, text in choices))
    return list(axes.values())


def merge(params: Sequence[Axis], arguments: Sequence[Axis]) -> list[Axis]:
    """The axes of a sweep file with those of the command line, which win; a replaced axis keeps its place."""
    given: dict[str, list[Axis]] = {}
    for axis in arguments:
        given.setdefault(axis.key, []).append(axis)
    merged = [new for axis in params for new in given.pop(axis.key, [axis])]
    return merged + [axis for axis in arguments if axis.key in given]


def grid(axes: Sequence[Axis], zipped: Sequence[Sequence[str]], exclude: Sequence[Mapping[str, Any]]) -> Grid:
    """The product of the axes, with the zipped ones moving together, less the excluded cells.

    Args:
        axes: distinct or not; the overrides of a cell follow their order.
        zipped: groups of keys whose axes have equally many values: the first with the first, and so on.
        exclude: mappings of a key to a value, or a list of values; a cell that equals all entries of one is left out.

    Raises:
        KdbenchError: a zip or an exclusion that names no axis, axes of unequal lengths, nothing left.
    """
    _check(axes, zipped, exclude)
    tests = [{key: frozenset(_as_texts(value)) for key, value in entry.items()} for entry in exclude]
    used = [False] * len(tests)
    kept: list[Cell] = []
    left_out: list[Cell] = []
    for choices in _product(axes, zipped):
        values = {choice.key: choice.text for choice in choices}
        hits = [all(values[key] in wanted for key, wanted in test.items()) for test in tests]
        used = [before or hit for before, hit in zip(used, hits, strict=True)]
        (left_out if any(hits) else kept).append(_cell(axes, choices))
    if not kept:
        raise KdbenchError(f"hydra.sweeper.exclude leaves none of the {len(left_out)} cells: take an entry out of it")
    idle = tuple(str(dict(entry)) for entry, hit in zip(exclude, used, strict=True) if not hit)
    return Grid(tuple(kept), tuple(left_out), idle)


def as_text(value: Any) -> str:
    """A value as people write it, so that a YAML file's true, 0.1 and hidden equal the command line's."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if hasattr(value, "text"):  # Hydra's quoted string
        return str(value.text)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{as_text(key)}:{as_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ",".join(as_text(item) for item in value) + "]"
    return str(value)


def quoted(text: str) -> str:
    """A text as a value in Hydra's grammar, whatever is in it but an interpolation."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def _as_override(value: Any) -> str:
    """The value in Hydra's grammar, quoted or escaped where it has to be."""
    from hydra.core.override_parser.types import Transformer

    return as_text(value) if isinstance(value, bool) else Transformer.str(value)


def _as_texts(value: Any) -> list[str]:
    """The values that an exclusion gives for a key: one, or a list."""
    several = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    return [as_text(item) for item in value] if several else [as_text(value)]


def _check(axes: Sequence[Axis], zipped: Sequence[Sequence[str]], exclude: Sequence[Mapping[str, Any]]) -> None:
    lengths = {axis.key: len(axis.choices) for axis in axes}
    known = f"this sweep sets {', '.join(lengths) or 'nothing'}"
    seen: set[str] = set()
    for keys in zipped:
        for key in keys:
            if key not in lengths:
                raise KdbenchError(f"hydra.sweeper.zip names {key}, which has no values: {known}")
            if key in seen:
                raise KdbenchError(f"hydra.sweeper.zip names {key} twice: write all that move together in one list")
            seen.add(key)
        if len({lengths[key] for key in keys}) > 1:
            counts = ", ".join(f"{key} has {lengths[key]}" for key in keys)
            raise KdbenchError(f"hydra.sweeper.zip needs equally many values of each key, but {counts}: give the rest")
    for entry in exclude:
        if not entry:
            raise KdbenchError("hydra.sweeper.exclude has an empty entry, which would leave nothing: name a key in it")
        for key in entry:
            if key not in lengths:
                raise KdbenchError(f"hydra.sweeper.exclude names {key}, which has no values: {known}")


def _product(axes: Sequence[Axis], zipped: Sequence[Sequence[str]]) -> Iterable[tuple[Choice, ...]]:
    """The cells, each a choice for every axis in their order; a zipped group moves at the place of its first axis."""
    group_of = {key: number for number, keys in enumerate(zipped) for key in keys}
    columns: dict[tuple[str, int], list[int]] = {}
    for place, axis in enumerate(axes):
        column = ("zip", group_of[axis.key]) if axis.key in group_of else ("axis", place)
        columns.setdefault(column, []).append(place)
    places = list(itertools.chain.from_iterable(columns.values()))
    moves = [zip(*(axes[place].choices for place in column), strict=True) for column in columns.values()]
    for move in itertools.product(*moves):
        chosen = dict(zip(places, itertools.chain.from_iterable(move), strict=True))
        yield tuple(chosen[place] for place in range(len(axes)))


def _cell(axes: Sequence[Axis], choices: Sequence[Choice]) -> Cell:
    overrides = tuple(choice.override for choice in choices)
    varied = [choice.override for axis, choice in zip(axes, choices, strict=True) if len(axis.choices) > 1]
    return Cell(overrides, " ".join(varied or overrides) or "(as composed)")
