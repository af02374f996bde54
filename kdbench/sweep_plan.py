"""The plan of a sweep: every cell and its control composed and checked; nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdbench.error import KdbenchError
from kdbench.grid import Cell, Grid
from kdbench.sweep import NO_RUN, Job

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdbench.plan import Step
    from kdbench.store import Store
    from kdbench.teacher_outputs.reading import Reading

Compose = Callable[[Cell], "DictConfig"]
"""The configuration of a cell, as the launcher will compose it once more; not completed."""


@dataclass
class SweepPlan:
    """The jobs of a sweep, the steps of the runs to be computed (repeated where runs share one), and their store.

    `readings` holds by signature what each run to be computed reads of its teacher. `own` are the axes of the sweep's
    file that the command line left as they are while it changed others: nobody set those for the cells that are left.
    """

    compose: Compose
    own: frozenset[str] = frozenset()
    jobs: list[Job] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    unread: list[str | None] = field(default_factory=list)
    readings: dict[str | None, list[Reading]] = field(default_factory=dict)
    found_store: Store | None = None

    @property
    def store(self) -> Store:
        """The one store of all cells."""
        assert self.found_store is not None  # a grid has at least one cell
        return self.found_store

    def add(self, cell: Cell) -> Job:
        """Compose and check a cell.

        Raises:
            KdbenchError: a user's mistake that no other cell can make good.
        """
        from kdbench.config import unused_axes

        cfg = self.compose(cell)
        asked = [override for override in cell.overrides if override.lstrip("+").partition("=")[0] not in self.own]
        self.unread.append(unused_axes(cfg, asked))
        job = Job(cell.overrides, cell.label)
        steps = self._check(job, cfg)
        if twins := self._twins(job):
            job.reason = f"the same run as {twins[0].label}"
        self.steps += steps if job.status == "planned" else []
        self.jobs.append(job)
        return job

    def add_control(self, cell: Cell, of: Sequence[Job]) -> None:
        """Compose and check a control, a job of its own unless another job is that very run; its cells name it."""
        job = Job(cell.overrides, cell.label, control=True)
        steps = self._check(job, self.compose(cell))
        for twin in (twins := self._twins(job)):
            twin.control = True
        if not twins:
            self.steps += steps if job.status == "planned" else []
            self.jobs.append(job)
        for each in of:
            each.matched = job.signature

    def _check(self, job: Job, cfg: DictConfig) -> list[Step]:
        """Fill in status, signature and axes of a job; the steps of its run."""
        from kdbench.config import complete
        from kdbench.error import ImpossibleError
        from kdbench.planning import plan_run
        from kdbench.teacher_outputs.reading import demands

        self._one_store(cfg)
        try:
            completed = complete(cfg)
            job.axes = {str(key): str(value) for key, value in completed.get("axes", {}).items()}
            plan = plan_run(completed, self.store)
        except ImpossibleError as error:
            job.status, job.reason = "impossible", str(error)
            return []
        job.status, job.signature = "reused" if plan.finished else "planned", plan.signature
        if not plan.finished:
            self.readings[plan.signature] = demands(completed, plan)
        return list(plan.everything())

    def share(self) -> list[str]:
        """Tell every run how many share its teacher's outputs; lines about what becomes of them."""
        from kdbench.teacher_outputs.reading import describe, sharing

        shared = dict(zip(self.readings, sharing(self.readings.values()), strict=True))
        for job in self.jobs:
            job.shared_by = shared.get(job.signature, 1)
        return describe(self.readings.values(), self.store)

    def _one_store(self, cfg: DictConfig) -> None:
        from kdbench.store import Store

        here = Store(cfg.paths.store)
        self.found_store = self.found_store or here
        if here.root != self.store.root:
            raise KdbenchError(
                f"paths.store differs between the cells of this sweep ({self.store.root} and {here.root}): a sweep has "
                "one store, so give it one value"
            )

    def _twins(self, job: Job) -> list[Job]:
        """The earlier jobs that are the same run."""
        return [each for each in self.jobs if job.signature is not None and each.signature == job.signature]


def plan_sweep(grid: Grid, put: Mapping[str, str], compose: Compose, own: frozenset[str] = frozenset()) -> SweepPlan:
    """Plan the cells of a grid and, where `put` says what a control is, the control of each cell that can run.

    For `own` see `SweepPlan`. The order: the cells, then the controls, each once, then the cells that were excluded.

    Raises:
        KdbenchError: a user's mistake in any cell; also an axis that no cell reads.
    """
    from kdbench.control import controls

    plan = SweepPlan(compose, own)
    for cell in grid.cells:
        plan.add(cell)
    if None not in plan.unread:  # an axis that only some methods of a sweep read is none of the user's mistakes
        raise KdbenchError(plan.unread[0])
    if put:
        cells_of: dict[Cell, list[Job]] = {}
        for control, job in zip(controls(grid.cells, dict(put)), plan.jobs, strict=True):
            if job.status not in NO_RUN:
                cells_of.setdefault(control, []).append(job)
        for control, jobs in cells_of.items():
            plan.add_control(control, jobs)
    plan.jobs += [Job(cell.overrides, cell.label, "excluded") for cell in grid.excluded]
    return plan
