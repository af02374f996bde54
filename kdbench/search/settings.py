"""What stands under `hydra.sweeper` of a search, and what of it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.error import KdbenchError
from kdbench.search.objective import Objective
from kdbench.value import share, switch, whole


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
