"""What stands under `hydra.sweeper` of a search, and what of it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.error import KdbenchError
from kdbench.search.objective import Objective
from kdbench.value import share, switch, whole

WAY_OUT = {
    "hydra.sweeper.search_space": "is a key of an early hydra-optuna-sweeper: write each range under "
    "hydra.sweeper.params, as hydra.sweeper.params={optimizer.lr: 'interval(1e-5,1e-3)'}, or on the command line",
    "hydra.sweeper.custom_search_space": "names a function of hydra-optuna-sweeper, which is not called here: write "
    "each range under hydra.sweeper.params, where a key that the chosen options do not have is not asked for",
}
"""What follows the name of a key that users of hydra-optuna-sweeper know, and that this one does without."""


@dataclass(frozen=True)
class Settings:
    """What stands under `hydra.sweeper`; `hydra_plugins.kdbench_sweeper.optuna_sweeper` says what each means."""

    n_trials: int
    n_jobs: int
    objectives: Sequence[str] | str
    direction: Sequence[str] | str | None
    constraints: Mapping[str, str] | None
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    storage: str | None
    study_name: str | None
    warm_start: bool
    max_failure_rate: float

    def check(self) -> None:
        """Refuse values out of range."""
        whole("hydra.sweeper.n_trials", self.n_trials)
        whole("hydra.sweeper.n_jobs", self.n_jobs)
        switch("hydra.sweeper.warm_start", self.warm_start)
        share("hydra.sweeper.max_failure_rate", self.max_failure_rate)
        for what, node in (("sampler", self.sampler), ("pruner", self.pruner)):
            if not isinstance(node, Mapping) or "name" not in node:
                raise KdbenchError(f"hydra.sweeper.{what}={node} has no name: choose one, as hydra/sweeper/{what}=...")
        if self.storage is not None and not (isinstance(self.storage, str) and self.storage.strip()):
            raise KdbenchError(
                f"hydra.sweeper.storage={self.storage} must be a file or a URL, or null for studies.db in the store"
            )


def refuse_old(given: Mapping[str, Any]) -> None:
    """Refuse the keys of `WAY_OUT` that a sweep file sets.

    Args:
        given: their values by their last names.
    """
    for key, way_out in WAY_OUT.items():
        if given.get(key.rpartition(".")[2]):
            raise KdbenchError(f"{key} {way_out}")


def refuse_blind_pruner(pruner: Mapping[str, Any], objectives: Sequence[Objective]) -> None:
    """Refuse a pruner where no evaluation of a training says what is looked for.

    Raises:
        KdbenchError: the pruner.
    """
    name = pruner["name"]
    if name == "none":
        return
    if len(objectives) > 1:
        raise KdbenchError(
            f"hydra/sweeper/pruner={name} looks at one objective and there are {len(objectives)}: choose "
            "hydra/sweeper/pruner=none"
        )
    if objectives[0].metric is None:
        raise KdbenchError(
            f"hydra/sweeper/pruner={name} compares trials while they train, and {objectives[0].name} is known of "
            "finished runs alone: choose hydra/sweeper/pruner=none, or an objective such as score or validation/..."
        )
