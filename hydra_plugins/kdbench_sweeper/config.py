"""The options under `hydra.sweeper`.

Without `from __future__ import annotations`: Hydra executes a plugin's module before it is in `sys.modules`, where a
dataclass looks its text annotations up.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class PlanSweeperConf:
    """What each means is said in `PlanSweeper`."""

    _target_: str = "hydra_plugins.kdbench_sweeper.plan_sweeper.PlanSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    zip: list[list[str]] = field(default_factory=list)
    exclude: list[dict[str, Any]] = field(default_factory=list)
    control: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="kdbench", node=PlanSweeperConf, provider="kdbench")
