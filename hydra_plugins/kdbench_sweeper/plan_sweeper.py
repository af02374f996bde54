"""`hydra/sweeper=kdbench`: compose and check every cell, print the plan, launch what the store lacks.

Hydra imports this module at every start of every application, so that it imports Hydra alone; `kdbench` comes in with a
sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from kdbench.grid import Cell, Grid
    from kdbench.sweep import Job

log = logging.getLogger(__name__)


class PlanSweeper(Sweeper):
    """Sweeps over a grid: every cell is composed, checked and counted before the first job begins.

    Cells that cannot work are listed with their reason and left out; finished ones are taken from the store; two cells
    that are the same run are computed once. The basic launcher is handed one job at a time, any other all at once.

    Args:
        max_batch_size: most jobs handed to another launcher at once; None: all.
        params: sweep overrides by key, as in Hydra's basic sweeper. The command line wins over them.
        zip: lists of keys whose values move together.
        exclude: mappings of a key to a value, or to several; a cell that equals all entries of one is left out.
        control: overrides that make a cell its control, such as `[method=label]`; empty: no controls. Every cell that
            can run gets beside it the same overrides without those that say what is taught (knowledge, matching,
            projection, objective, and whatever is set below the terms of a stage) and with these in place: the same
            student, initialization, data, steps and seed (of a method with several stages: the steps of one). A control
            is a job like any other, planned after the cells, once for all cells that share it; a cell that is the very
            run serves as one. In sweep.json a control has `control: true`, and a cell its control's signature under
            `matched`. On the command line: `hydra.sweeper.control=["method=label"]`, in quotes for the shell.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: Mapping[str, str] | None = None,
        zip: Sequence[Sequence[str]] = (),
        exclude: Sequence[Mapping[str, Any]] = (),
        control: Sequence[str] = (),
    ) -> None:
        self.max_batch_size = max_batch_size
        self.params = params or {}
        self.zip = zip
        self.exclude = exclude
        self.control = control
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        from kdbench.sweep_folder import Entered

        self.hydra_context = hydra_context
        self.config = config
        self.task = Entered(task_function)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=self.task, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Job]:
        """Plan the sweep and, unless `plan` is true, run what is missing; the jobs as they ended.

        Raises:
            SweepError: a user's mistake in any cell, no cell that can work, or runs that failed: one sentence.
            HydraException: a cell that does not compose, in Hydra's words.
        """
        from kdbench.error import KdbenchError
        from kdbench.sweep import SweepError

        try:
            return self._sweep(arguments)
        except KdbenchError as error:
            raise SweepError(str(error)) from None

    def _sweep(self, arguments: list[str]) -> list[Job]:
        import typer

        from kdbench.control import replacements
        from kdbench.error import KdbenchError
        from kdbench.sweep import describe, failure, number_jobs, summary
        from kdbench.sweep_folder import claim, read_jobs, write_sweep
        from kdbench.sweep_plan import plan_sweep
        from kdbench.wandb_sweep import show_sweep

        loader = self.hydra_context.config_loader
        grid = self._grid(arguments)
        put = replacements(self.control, loader)
        log.info("Composing and checking %d cells", len(grid.cells))
        given = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
        narrowed = not given.isdisjoint(self.params)
        plan = plan_sweep(grid, put, self._compose, frozenset(self.params) - given if narrowed else frozenset())
        jobs, only_plan = plan.jobs, bool(self.config.get("plan", False))
        typer.echo(describe(jobs, plan.steps, grid.idle, only_plan, plan.share()))
        if all(job.status in ("impossible", "excluded") for job in jobs):
            reason = next(job.reason for job in jobs if job.status == "impossible")
            raise KdbenchError(f"none of the {len(jobs)} cells of this sweep can run; the first because {reason}")
        if only_plan:
            return jobs
        to_run = number_jobs(jobs)
        folder, lock = claim(Path(self.config.hydra.sweep.dir))
        try:
            OmegaConf.save(self.config, folder / "multirun.yaml")
            write_sweep(folder, folder.name, plan.store.root, jobs)
            if to_run:
                self._launch(to_run, folder)
            jobs = read_jobs(folder)
        finally:
            lock.release()
        show_sweep(loader.load_sweep_config(self.config, list(jobs[0].overrides)), folder)
        typer.echo(f"{summary(jobs, folder)}\n{folder}")
        if (sentence := failure(jobs)) is not None:
            raise KdbenchError(sentence)
        return jobs

    def _grid(self, arguments: Sequence[str]) -> Grid:
        from kdbench.grid import grid, merge, parse

        loader = self.hydra_context.config_loader
        params = parse([f"{key}={value}" for key, value in self.params.items()], loader)
        return grid(merge(params, parse(arguments, loader)), self.zip, self.exclude)

    def _compose(self, cell: Cell) -> DictConfig:
        """The cell's configuration, as the launcher will compose it once more."""
        from kdbench.error import KdbenchError

        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(cell.overrides))
        for node in ("sweeper", "launcher"):
            if cfg.hydra[node] != self.config.hydra[node]:
                raise KdbenchError(
                    f"{cell.label} brings settings of its own for hydra.{node}, which Hydra drops inside a sweep: "
                    "choose such an option outside the sweep, with one command for each"
                )
        return cfg

    def _launch(self, jobs: Sequence[Job], folder: Path) -> None:
        """Hand the jobs to the launcher; those that a broken launcher left undone follow one by one."""
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        from kdbench.sweep_folder import planned

        self.task.folder = folder
        one_by_one = isinstance(self.launcher, BasicLauncher)
        size = 1 if one_by_one else self.max_batch_size or len(jobs)
        for batch in [jobs[start : start + size] for start in range(0, len(jobs), size)]:
            if self._launch_batch(batch, folder, last_try=len(batch) == 1):
                continue
            for number in sorted(planned(folder) & {job.number for job in batch}):
                self._launch_batch([job for job in batch if job.number == number], folder, last_try=True)

    def _launch_batch(self, batch: Sequence[Job], folder: Path, last_try: bool) -> bool:
        """Whether the launcher came to its end. The jobs enter theirs themselves; here only a death without one."""
        import typer

        from kdbench.grid import quoted
        from kdbench.sweep import reason_of
        from kdbench.sweep_folder import enter, planned

        extra = [f"sweep={quoted(folder.name)}", f"hydra.sweep.dir={quoted(str(folder))}"]
        reason = "the job ended without an outcome"
        assert self.launcher is not None
        try:
            overrides = [[*job.overrides, *extra, *job.added] for job in batch]
            self.launcher.launch(overrides, initial_job_idx=batch[0].number)
        except Exception as error:
            reason = reason_of(error)
            log.debug("the launcher failed", exc_info=True)
            if not last_try:
                log.warning("the launcher failed (%s): the jobs it left undone follow one by one", reason)
                return False
        for number in sorted(planned(folder) & {job.number for job in batch}):
            typer.echo(enter(folder, number, "failed", reason, None))
        return True
