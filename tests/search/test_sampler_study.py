"""Whole studies of every sampler: values of the space alone, and bounds that a sampler learns to keep."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR
from kdbench.search.sampler import make_sampler
from kdbench.search.space import space_of
from kdbench.search.study import Slots, open_study

LOADER: Any = SimpleNamespace(get_group_options=lambda name: ["label", "kd"] if name == "method" else [])
SPACE = space_of(
    ["method=label,kd", "rate=tag(log,interval(1e-5,1e-1))", "layers=range(1,9)", "temperature=interval(1.0,8.0)"],
    LOADER,
)
BOUND = 2.0
"""What the cost of a trial, its layers and a quarter of its temperature, may be."""

TRIALS = {"tpe": 40, "random": 40, "cmaes": 25, "gp": 20, "nsgaii": 60}


def exists(overrides: Sequence[str], key: str) -> bool:
    return key != "temperature" or "method=kd" in overrides


def cost(params: dict[str, Any]) -> float:
    return float(params["layers"] + params.get("temperature", 0.0) / 4)


def studied(name: str, constrained: bool, trials: int) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study whose best values lie beyond the bound, made slot after slot as a search makes them."""
    options: Any = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "hydra" / "sweeper" / "sampler" / f"{name}.yaml"))
    sampler_of = make_sampler({**options, "seed": 1}, 1, constrained)
    study = open_study(
        optuna.storages.InMemoryStorage(), "s", ["maximize"], {"space": SPACE.signature}, optuna.pruners.NopPruner()
    )
    slots = Slots(study, trials, sampler_of)
    slots.fill()
    while (trial := slots.take()) is not None:
        overrides = SPACE.suggest(trial, exists)
        assert overrides[0] == f"method={trial.params['method']}"
        if constrained:
            trial.set_constraint(f"cost <= {BOUND:g}", cost(trial.params) - BOUND)
        study.tell(trial, cost(trial.params) - abs(trial.params["rate"] - 1e-3))
    return slots.ended()


@pytest.mark.parametrize("name", TRIALS)
def test_every_trial_has_values_of_the_space_and_those_of_its_group_alone(name: str) -> None:
    trials = studied(name, name != "cmaes", TRIALS[name])
    assert len(trials) == TRIALS[name] and {trial.params["method"] for trial in trials} == {"label", "kd"}
    for trial in trials:
        own = {"method", "rate", "layers"} | ({"temperature"} if trial.params["method"] == "kd" else set())
        assert set(trial.params) == own
        assert all(SPACE.searched[key]._contains(SPACE.searched[key].to_internal_repr(value))
                   for key, value in trial.params.items())  # fmt: skip


@pytest.mark.parametrize("name", ["tpe", "gp", "nsgaii"])
def test_a_sampler_learns_where_the_bound_is(name: str) -> None:
    """Though what is looked for is highest beyond it: random draws keep it by chance alone."""

    def share(sampler: str) -> float:
        late = studied(sampler, True, TRIALS[name])[TRIALS[name] // 2 :]
        return sum(cost(trial.params) <= BOUND for trial in late) / len(late)

    assert share(name) > share("random")
