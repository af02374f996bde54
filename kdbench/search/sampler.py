"""Optuna's samplers and pruners under the names of the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kdbench.error import KdbenchError
from kdbench.seeds import derive
from kdbench.value import whole

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "grid": "RandomSampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
}
SamplerOf = Callable[[int], "BaseSampler"]
"""The sampler of a slot: each draws from a seed of its own, so that neither processes that share a study nor a command
that goes on with one draw what was drawn before."""


def make_sampler(node: Mapping[str, Any], objectives: int, constrained: bool) -> SamplerOf:
    """The samplers of `hydra.sweeper.sampler`.

    That of `grid` draws nothing, since its slots have their values from the beginning
    (`kdbench.search.space.combinations`).

    Args:
        node: its name and options, of which `seed` is that of all slots.
        objectives: how many.
        constrained: whether trials have bounds.

    Raises:
        KdbenchError: a sampler that is unknown or does not fit, or options that it does not take.
    """
    import optuna

    options = dict(node)
    name, seed = options.pop("name"), options.pop("seed", None)
    kind = _known("sampler", name, SAMPLERS, optuna.samplers)
    whole("hydra.sweeper.sampler.seed", seed, least=0, null="other draws at each start")
    if name == "cmaes" and find_spec("cmaes") is None:
        raise KdbenchError("hydra/sweeper/sampler=cmaes needs the package cmaes: pip install 'kdbench[search]'")
    if name == "cmaes" and (objectives > 1 or constrained):
        raise KdbenchError("hydra/sweeper/sampler=cmaes knows one objective and no bounds: choose tpe or nsgaii")

    def made(slot: int) -> BaseSampler:
        # The points of a sequence that fills a space are those of one seed.
        own = seed if seed is None or name == "qmc" else derive(int(seed), "trial", str(slot)) % 2**32
        found: BaseSampler = _built("sampler", name, kind, {**options, "seed": own})
        return found

    made(0)
    return made


def make_pruner(node: Mapping[str, Any]) -> BasePruner:
    """The pruner of `hydra.sweeper.pruner`; raises as `make_sampler`."""
    import optuna

    options = dict(node)
    name = options.pop("name")
    kind = _known("pruner", name, PRUNERS, optuna.pruners)
    return _built("pruner", name, kind, options)


def _known(what: str, name: str, known: Mapping[str, str], module: Any) -> Callable[..., Any]:
    if name not in known:
        raise KdbenchError(f"hydra.sweeper.{what}.name={name} is unknown: choose among {', '.join(known)}")
    found: Callable[..., Any] = getattr(module, known[name])
    return found


def _built(what: str, name: str, kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    from optuna.exceptions import ExperimentalWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**options)
    except (TypeError, ValueError) as error:
        raise KdbenchError(f"hydra.sweeper.{what} cannot be built ({error}): see the options of {kind.__name__} in "
                           "Optuna's reference") from error  # fmt: skip
