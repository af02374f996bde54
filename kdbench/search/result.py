"""What a search found: its best trials, in words, as a file, and as the jobs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.search.objective import Constraint, Objective
from kdbench.search.pruning import saved
from kdbench.search.told import LABEL, REASON, SIGNATURE
from kdbench.sweep import Job

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FILE = "optimization_results.yaml"


STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}


def best(trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> list[FrozenTrial]:
    """The finished trials within their constraints that no other one beats: of one objective the first of the best, of
    several their Pareto front, ordered by the first objective."""
    feasible = [trial for trial in _finished(trials) if _within(trial)]
    signs = [-1.0 if each.direction == "maximize" else 1.0 for each in objectives]
    costs = [tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)) for trial in feasible]
    front = [
        trial for trial, own in zip(feasible, costs, strict=True) if not any(_dominates(other, own) for other in costs)
    ]
    front.sort(key=lambda trial: (signs[0] * trial.values[0], trial.number))
    return front[:1] if len(objectives) == 1 else front


def _finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those with values of their own: that of a pruned one is what it was reported last."""
    return [trial for trial in trials if trial.state.name == "COMPLETE"]


def _within(trial: FrozenTrial) -> bool:
    return all(each <= 0 for each in trial.constraints.values())


def _state(trial: FrozenTrial) -> str:
    """Of a pruned one without a run nothing was ever trained."""
    impossible = trial.state.name == "PRUNED" and SIGNATURE not in trial.user_attrs
    return "impossible" if impossible else STATES[trial.state.name]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def summary(
    trials: Sequence[FrozenTrial], failed: Sequence[FrozenTrial], objectives: Sequence[Objective], total: int
) -> str:
    """The end of a search: how its trials ended, what pruning spared, and the best of them.

    Args:
        trials: finished or pruned ones.
        failed: of slots that are still open.
        objectives: of the search.
        total: how many trials it was to have.
    """
    finished = _finished(trials)
    impossible = [trial for trial in trials if _state(trial) == "impossible"]
    parts = [f"{len(finished)} finished", f"{len(trials) - len(finished) - len(impossible)} pruned"]
    parts += [f"{len(impossible)} impossible"] if impossible else []
    parts += [f"{len(failed)} failed"] if failed else []
    lines = [f"{len(trials)} of {total} trials: {', '.join(parts)}"]
    spared, planned = saved(trials)
    if spared:
        lines.append(f"  pruning spared {spared} of {planned} evaluations ({spared / planned:.0%})")
    lines += [f"  failed: {trial.user_attrs.get(LABEL, '')}: {trial.user_attrs.get(REASON, '')}" for trial in failed]
    found = best(trials, objectives)
    lines += [] if found else ["  no finished trial is within the constraints"]
    lines += [f"  {'best' if len(objectives) == 1 else 'front'}: {_named(trial, objectives)}" for trial in found]
    return "\n".join(lines)


def _named(trial: FrozenTrial, objectives: Sequence[Objective]) -> str:
    values = ", ".join(f"{each.name} {value:.4g}" for each, value in zip(objectives, trial.values, strict=True))
    run = trial.user_attrs.get(SIGNATURE)
    return f"{values}: {trial.user_attrs.get(LABEL, '')} (trial {trial.number}, run {run})"


def write_results(folder: Path, trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> None:
    """The file that Hydra's own plugin for Optuna writes: the best parameters and values, or those of the front."""
    from omegaconf import OmegaConf

    found: list[dict[str, Any]] = [
        {"params": dict(each.params), "values": list(each.values)} for each in best(trials, objectives)
    ]
    content: dict[str, Any] = {"name": "optuna"}
    if len(objectives) == 1:
        params, values = (found[0]["params"], found[0]["values"]) if found else ({}, [None])
        content |= {"best_evaluated_params": params, "best_evaluated_result": values[0]}
    else:
        content["solutions"] = found
    OmegaConf.save(OmegaConf.create(content), folder / FILE)


def jobs(trials: Sequence[FrozenTrial]) -> list[Job]:
    """The finished trials as jobs of a sweep, which `kdbench-report` reads."""
    return [
        Job((), str(trial.user_attrs.get(LABEL, "")), "finished", trial.user_attrs[SIGNATURE], score=trial.values[0])
        for trial in _finished(trials)
    ]


def as_record(
    study: str, trials: Sequence[FrozenTrial], objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> dict[str, Any]:
    """The node `search` of `sweep.json`: what was looked for, and how every trial ended.

    Args:
        study: its name.
        trials: finished, pruned and failed ones, one a slot.
        objectives, constraints: of the search.
    """
    found = {trial.number for trial in best(trials, objectives)}
    return {
        "study": study,
        "objectives": [{"name": each.name, "direction": each.direction} for each in objectives],
        "constraints": [str(each) for each in constraints],
        "trials": [
            {
                "number": trial.number,
                "state": _state(trial),
                "values": None if trial.values is None else list(trial.values),
                "params": dict(trial.params),
                "within": trial.state.name == "COMPLETE" and _within(trial),
                "best": trial.number in found,
                "signature": trial.user_attrs.get(SIGNATURE),
                "reason": trial.user_attrs.get(REASON),
            }
            for trial in sorted(trials, key=lambda trial: trial.number)
        ],
    }
