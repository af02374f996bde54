"""What a search varies: from overrides in Hydra's grammar to Optuna's distributions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError
from kdbench.grid import parse as choices_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Exists = Callable[[Sequence[str], str], bool]
"""Whether the configuration that these overrides compose has a key."""


@dataclass(frozen=True)
class Space:
    """The searched keys and the overrides that every trial has.

    Attributes:
        fixed: overrides with one value.
        searched: a distribution for each key, groups of options before single values.
        groups: the keys among them that choose an option of a group.
        texts: of a categorical key, the override that each of its values is written as.
    """

    fixed: tuple[str, ...]
    searched: Mapping[str, BaseDistribution]
    groups: frozenset[str]
    texts: Mapping[str, Mapping[Any, str]]

    @property
    def signature(self) -> str:
        """Sixteen hex digits of the searched keys and their distributions."""
        from optuna.distributions import distribution_to_json

        searched = {key: distribution_to_json(each) for key, each in self.searched.items()}
        content = json.dumps(searched, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def suggest(self, trial: Trial, exists: Exists) -> list[str]:
        """The overrides of a trial.

        A key that its choices of options do not have is not asked for: the temperature of a term, where the chosen
        method has no such term.
        """
        chosen, values = list(self.fixed), []
        for key, distribution in self.searched.items():
            if key in self.groups:
                chosen.append(self.override(key, trial._suggest(key, distribution)))
            elif exists(chosen, key):  # which values do not change
                values.append(self.override(key, trial._suggest(key, distribution)))
        return chosen + values

    def combinations(self, exists: Exists) -> list[dict[str, Any]]:
        """The values of every trial of a grid: every combination once, of the keys that it is asked for.

        Raises:
            KdbenchError: a key with an interval, of which there is no list.
        """
        found: list[dict[str, Any]] = [{}]
        for key, distribution in self.searched.items():
            values = _list_of(key, distribution)
            found = [
                {**each, key: value}
                for each in found
                for value in (values if key in self.groups or exists(self._options(each), key) else [None])
            ]
        return [{key: value for key, value in each.items() if value is not None} for each in found]

    def _options(self, values: Mapping[str, Any]) -> list[str]:
        return [*self.fixed, *(self.override(key, values[key]) for key in values if key in self.groups)]

    def described(self) -> list[str]:
        """A line for each searched key, as it stands on a command line, and one for what is fixed."""
        lines = []
        for key, distribution in self.searched.items():
            if key in self.texts:
                lines.append(f"{key}={','.join(self.texts[key])}")
                continue
            low, high, step = (getattr(distribution, name) for name in ("low", "high", "step"))
            scale = ", on a logarithmic scale" if getattr(distribution, "log", False) else ""
            lines.append(f"{key} from {low:g} to {high:g}{f' by {step:g}' if step else ''}{scale}")
        return [*lines, f"with {' '.join(self.fixed)}"] if self.fixed else lines

    def override(self, key: str, value: Any) -> str:
        """A value of a key as it stands on the command line."""
        return self.texts[key][value] if key in self.texts else f"{key}={value!r}"


def space_of(overrides: Sequence[str], loader: Any) -> Space:
    """The space of a command line, and of `hydra.sweeper.params`.

    `interval(a,b)` is every number in between, `int(interval(a,b))` every whole one, `tag(log, interval(a,b))` on a
    logarithmic scale; `range(a,b,step)` ends before b, as everywhere in Hydra; `choice(a,b)` and `a,b` are one of them,
    in no order.

    Args:
        overrides: a later one of the same key replaces an earlier one.
        loader: Hydra's, which knows the groups.

    Raises:
        KdbenchError: an empty range, an interval that ends before it begins, or nothing to search.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    fixed: dict[str, str] = {}
    searched: dict[str, BaseDistribution] = {}
    texts: dict[str, dict[Any, str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        key, line = override.get_key_element(), str(override.input_line)
        for known in (fixed, searched, texts):
            known.pop(key, None)  # type: ignore[attr-defined]
        if not override.is_sweep_override():
            fixed[key] = line
        elif (found := _numbers(key, line, override.value())) is not None:
            searched[key] = found
        else:
            (axis,) = choices_of([line], loader)
            texts[key] = {choice.text: choice.override for choice in axis.choices}
            searched[key] = _categories(list(texts[key]))
    if not searched:
        raise KdbenchError(
            "this search varies nothing: give a key several values, as optimizer.lr=tag(log,interval(1e-5,1e-3))"
        )
    groups = frozenset(key for key in searched if loader.get_group_options(key.lstrip("+").partition("@")[0]))
    in_order = sorted(searched, key=lambda key: key not in groups)
    return Space(tuple(fixed.values()), {key: searched[key] for key in in_order}, groups, texts)


def _categories(values: list[str]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(values)


def _numbers(key: str, line: str, value: Any) -> BaseDistribution | None:
    """The distribution of an interval or a range; None of anything else."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import FloatDistribution, IntDistribution

    if not isinstance(value, IntervalSweep | RangeSweep):
        return None
    low, log = value.start, "log" in value.tags
    high = value.end if isinstance(value, IntervalSweep) else value.stop
    step = None if isinstance(value, IntervalSweep) else value.step
    assert low is not None and high is not None
    whole = isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int))
    if isinstance(value, RangeSweep):
        steps = list(value.range())
        if not steps:
            raise KdbenchError(f"{line} is an empty range: let it begin below its end, which is not part of it")
        high = steps[-1]
    if low > high or (low == high and step is None):
        raise KdbenchError(f"{line} is an empty interval: let it begin below its end")
    if log and (low <= 0 or step not in (None, 1)):
        raise KdbenchError(f"{line} cannot be on a logarithmic scale: let it begin above 0, without a step")
    try:
        if whole:
            return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
        return FloatDistribution(float(low), float(high), log=log, step=None if log else step)
    except ValueError as error:
        raise KdbenchError(f"{line} cannot be searched ({error})") from error


def _list_of(key: str, distribution: BaseDistribution) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        steps = round((distribution.high - distribution.low) / distribution.step)
        return [distribution.low + place * distribution.step for place in range(steps + 1)]
    raise KdbenchError(
        f"hydra/sweeper/sampler=grid needs a list of values of {key}: write choice(...) or range(...) for its interval"
    )


def refuse_unknown_keys(space: Space, exists: Exists) -> None:
    """Refuse a key that no choice of options has: looked for with the first options of all groups, with another one of
    a single group, and where neither has it, with every combination.

    Raises:
        KdbenchError: the key.
    """
    options = [
        [space.override(key, value) for value in space.texts[key]] for key in space.searched if key in space.groups
    ]
    first = [choices[0] for choices in options]
    others = [
        [*first[:place], choice, *first[place + 1 :]] for place, choices in enumerate(options) for choice in choices[1:]
    ]
    for key in space.searched:
        if key in space.groups:
            continue
        if not any(exists([*space.fixed, *more], key) for more in chain([first], others, product(*options))):
            raise KdbenchError(
                f"{key} is searched, but no configuration of this search has such a key: `kdbench --cfg job` shows them"
            )
