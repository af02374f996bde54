"""Optuna's samplers and pruners under the names of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from kdbench.search.space import Space

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
}
ONE_OBJECTIVE = ("cmaes",)
VIOLATIONS = "violations"
"""The attribute of a trial that says by how much it lies beyond each constraint."""


def make_sampler(node: Mapping[str, Any], space: Space, objectives: int, constrained: bool) -> BaseSampler:
    """The sampler of `hydra.sweeper.sampler`.

    Args:
        node: its name and options.
        space: what it draws from.
        objectives: how many.
        constrained: whether trials tell violations.

    Raises:
        KdbenchError: a sampler that is unknown or does not fit, or options that it does not take.
    """
    import optuna

    options = dict(node)
    name = options.pop("name")
    kind = _known("sampler", name, SAMPLERS, optuna.samplers)
    if name == "cmaes" and find_spec("cmaes") is None:
        raise KdbenchError("hydra/sweeper/sampler=cmaes needs the package cmaes: pip install 'kdbench[search]'")
    if objectives > 1 and name in ONE_OBJECTIVE:
        raise KdbenchError(
            f"hydra/sweeper/sampler={name} knows one objective and there are {objectives}: choose nsgaii or tpe"
        )
    if name == "grid":
        options["search_space"] = _grid(space)
    if constrained and "constraints_func" in inspect.signature(kind).parameters:
        options["constraints_func"] = violations
    elif constrained:
        raise KdbenchError(f"hydra/sweeper/sampler={name} knows no constraints: choose tpe, gp or nsgaii")
    return _built("sampler", name, kind, options)


def make_pruner(node: Mapping[str, Any]) -> BasePruner:
    """The pruner of `hydra.sweeper.pruner`; raises as `make_sampler`."""
    import optuna

    options = dict(node)
    name = options.pop("name")
    kind = _known("pruner", name, PRUNERS, optuna.pruners)
    return _built("pruner", name, kind, options)


def violations(trial: FrozenTrial) -> Sequence[float]:
    """By how much a trial lies beyond its constraints; of one that was pruned nobody knows."""
    found: Sequence[float] = trial.user_attrs.get(VIOLATIONS, ())
    return found


def _known(what: str, name: str, known: Mapping[str, str], module: Any) -> Callable[..., Any]:
    if name not in known:
        raise KdbenchError(f"hydra.sweeper.{what}.name={name} is unknown: choose among {', '.join(known)}")
    found: Callable[..., Any] = getattr(module, known[name])
    return found


def _built(what: str, name: str, kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    import warnings

    from optuna.exceptions import ExperimentalWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**options)
    except (TypeError, ValueError) as error:
        raise KdbenchError(f"hydra.sweeper.{what} cannot be built ({error}): see the options of {kind.__name__} in "
                           "Optuna's reference") from error  # fmt: skip


def _grid(space: Space) -> dict[str, list[Any]]:
    """Every value of every key, which a grid needs a list of."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, list[Any]] = {}
    for key, each in space.searched.items():
        if isinstance(each, CategoricalDistribution):
            found[key] = list(each.choices)
        elif isinstance(each, IntDistribution):
            found[key] = list(range(each.low, each.high + 1, each.step))
        elif isinstance(each, FloatDistribution) and each.step is not None:
            steps = round((each.high - each.low) / each.step)
            found[key] = [each.low + place * each.step for place in range(steps + 1)]
        else:
            raise KdbenchError(f"hydra/sweeper/sampler=grid needs a list of values of {key}: write choice(...) or range"
                               "(...) in the place of an interval")  # fmt: skip
    return found
