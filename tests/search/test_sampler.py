"""Every sampler and pruner of the configuration is one of Optuna, and draws for each slot from a seed of its own."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR
from kdbench.error import KdbenchError
from kdbench.search.sampler import PRUNERS, SAMPLERS, make_pruner, make_sampler

FOLDER = CONF_DIR / "hydra" / "sweeper"
OBJECTS = {
    "gamma", "weights", "constraints_func", "independent_sampler", "source_trials", "mutation", "crossover",
    "reference_points", "elite_population_selection_strategy", "child_generation_strategy", "after_trial_strategy",
}  # fmt: skip
"""Parameters that no command line can write: functions, trials and objects of Optuna's."""

OTHER_DEFAULTS = {
    ("nsgaii", "population_size"): "50 are more than most searches have trials",
    ("nsgaiii", "population_size"): "50 are more than most searches have trials",
    ("percentile", "percentile"): "Optuna has none",
    ("successive_halving", "min_resource"): "auto waits for a finished trial",
}


def options(group: str) -> list[Path]:
    return sorted((FOLDER / group).glob("*.yaml"))


def node(path: Path) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(OmegaConf.load(path))
    return dict(found)


def test_the_configuration_has_each_of_them_under_its_name() -> None:
    for group, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        assert {node(path)["name"] for path in options(group)} == {path.stem for path in options(group)} == set(known)


@pytest.mark.parametrize("path", [*options("sampler"), *options("pruner")], ids=lambda path: path.stem)
def test_an_option_lists_what_its_class_takes_with_the_defaults_that_it_has(path: Path) -> None:
    """So that a key of Optuna's is one of the command line."""
    module, known = (optuna.samplers, SAMPLERS) if path.parent.name == "sampler" else (optuna.pruners, PRUNERS)
    taken = dict(inspect.signature(getattr(module, known[path.stem])).parameters)
    taken.pop("seed", None)  # in optuna.yaml, for all of them
    own = {key: value for key, value in node(path).items() if key != "name"}
    assert set(own) == set(taken) - OBJECTS
    for key, value in own.items():
        same = value == taken[key].default and type(value) is type(taken[key].default)
        assert same != ((path.stem, key) in OTHER_DEFAULTS), f"{key}: {value}, in Optuna {taken[key].default}"


@pytest.mark.parametrize("path", options("sampler"), ids=lambda path: path.stem)
def test_a_slot_draws_what_its_seed_says_and_another_slot_something_else(path: Path) -> None:
    def drawn(slot: int) -> float:
        sampler = make_sampler({**node(path), "seed": 3}, 1, False)(slot)
        return optuna.create_study(sampler=sampler).ask().suggest_float("x", 0.0, 1.0)

    assert drawn(0) == drawn(0)
    assert len({drawn(slot) for slot in range(4)}) == (4 if path.stem != "qmc" else 1), "a sequence has one seed"


@pytest.mark.parametrize("path", options("pruner"), ids=lambda path: path.stem)
def test_a_pruner_judges(path: Path) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(node(path)))
    for value in [0.9] * 12 + [0.1]:
        trial = study.ask()
        pruned = False
        for step in range(1, 5):
            trial.report(value, step)
            pruned = pruned or trial.should_prune()
        study.tell(trial, value)
    assert pruned == (path.stem != "none")


@pytest.mark.parametrize(
    ("given", "objectives", "constrained", "sentence"),
    [
        ({"name": "annealing"}, 1, False, "hydra.sweeper.sampler.name=annealing is unknown: choose among tpe,"),
        ({"name": "tpe", "seed": "abc"}, 1, False, r"hydra\.sweeper\.sampler\.seed=abc must be a whole number"),
        ({"name": "grid", "seed": -1}, 1, False, r"or null for other draws at each start"),
        ({"name": "tpe", "startup": 3}, 1, False, "hydra.sweeper.sampler cannot be built"),
        ({"name": "cmaes"}, 2, False, "knows one objective and no bounds"),
        ({"name": "cmaes"}, 1, True, "knows one objective and no bounds"),
    ],
)
def test_a_sampler_that_does_not_fit_is_refused(
    given: dict[str, Any], objectives: int, constrained: bool, sentence: str
) -> None:
    with pytest.raises(KdbenchError, match=sentence):
        make_sampler(given, objectives, constrained)


def test_a_pruner_that_does_not_fit_is_refused() -> None:
    with pytest.raises(KdbenchError, match=r"hydra\.sweeper\.pruner\.name=axe is unknown: choose among none, median,"):
        make_pruner({"name": "axe"})
    with pytest.raises(KdbenchError, match=r"hydra\.sweeper\.pruner cannot be built"):
        make_pruner({"name": "median", "patience": 3})
