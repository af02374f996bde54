"""`hydra/sweeper=optuna`: a search by Optuna, resumable and shared by any number of processes.

Hydra imports this module at every start of every application, so that it imports Hydra alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Searches a space of overrides. The keys are those that users of hydra-optuna-sweeper know, and more.

    The same command goes on with the study: no trial is lost, none that ended is made again, one that was interrupted
    goes on where its run stands in the store.

    Args:
        n_trials: of the study, over all its commands: finished or pruned ones.
        n_jobs: trials handed to the launcher at once.
        objectives: what is looked for: `score`, a cost (`parameters`, `flops`, `bytes`, `latency`, `latency_32` in
            milliseconds), or a metric such as `validation/f1`.
        direction: `maximize` or `minimize`, or one for each objective; None: each in its own.
        constraints: bounds by name, `{latency: "<= 5"}`.
        sampler, pruner: options of the groups `hydra/sweeper/sampler` and `hydra/sweeper/pruner`: a name, and what the
            class of Optuna takes.
        storage: of the study, see `kdbench.search.storage.open_storage`; None: `studies.db` in the store.
        study_name: None: one that the space and every other setting of its runs determine, see
            `kdbench.search.identity`.
        warm_start: begin with the runs of the store that this command could have made.
        max_failure_rate: the share of failed trials above which the search ends.
        params: searched and fixed overrides by key. The command line wins over them.
        search_space, custom_search_space: of hydra-optuna-sweeper; refused, with the way out.
    """

    def __init__(
        self,
        n_trials: int = 20,
        n_jobs: int = 1,
        objectives: Sequence[str] = ("score",),
        direction: Sequence[str] | str | None = None,
        constraints: Mapping[str, str] | None = None,
        sampler: Mapping[str, Any] | None = None,
        pruner: Mapping[str, Any] | None = None,
        storage: str | None = None,
        study_name: str | None = None,
        warm_start: bool = False,
        max_failure_rate: float = 0.0,
        params: Mapping[str, str] | None = None,
        search_space: Any = None,
        custom_search_space: Any = None,
    ) -> None:
        self.options = {
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "objectives": objectives,
            "direction": direction,
            "constraints": constraints,
            "sampler": sampler or {"name": "tpe"},
            "pruner": pruner or {"name": "none"},
            "storage": storage,
            "study_name": study_name,
            "warm_start": warm_start,
            "max_failure_rate": max_failure_rate,
        }
        self.params = params or {}
        self.old = {"search_space": search_space, "custom_search_space": custom_search_space}
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Search, and say what was found; with `plan=true` say what would be searched.

        Raises:
            SweepError: a user's mistake, or too many failed trials: one sentence.
            HydraException: overrides that do not compose, in Hydra's words.
        """
        from kdbench.error import KdbenchError
        from kdbench.sweep import SweepError

        try:
            self._sweep(arguments)
        except KdbenchError as error:
            raise SweepError(str(error)) from None

    def _sweep(self, arguments: Sequence[str]) -> None:
        import typer
        from hydra.core.plugins import Plugins

        from kdbench.error import KdbenchError
        from kdbench.search.search import Search
        from kdbench.search.settings import Settings, refuse_old
        from kdbench.sweep_folder import claim
        from kdbench.wandb_sweep import show_sweep

        refuse_old(self.old)
        if not isinstance(self.params, Mapping):
            raise KdbenchError(
                f"hydra.sweeper.params={self.params} names no keys: give values by key, as "
                "hydra.sweeper.params={optimizer.lr: 'interval(1e-5,1e-3)'}, or on the command line"
            )
        params = [f"{key}={value}" for key, value in self.params.items()]
        loader = self.hydra_context.config_loader
        search = Search(Settings(**self._plain()), [*params, *arguments], loader, self._compose, self.task)
        if search.first.plan:
            typer.echo(search.described())
            return
        study = search.open()
        folder, lock = claim(Path(self.config.hydra.sweep.dir))
        search.told.folder = folder
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=search.told, config=self.config
        )
        log.info("study %s: %s", search.told.study, folder)
        try:
            OmegaConf.save(self.config, folder / "multirun.yaml")
            search.run(study, lambda overrides, first: self._launch(overrides, first, folder))
        finally:
            said = search.end(study, folder)
            show_sweep(search.first, folder)
            typer.echo(f"{said}\n{folder}")
            lock.release()

    def _plain(self) -> dict[str, Any]:
        """The options as plain containers."""
        return {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in self.options.items()
        }

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _launch(self, batch: list[list[str]], first: int, folder: Path) -> None:
        """Hand jobs to the launcher; one that breaks leaves its trials running, which the search sees."""
        from kdbench.grid import quoted

        extra = [f"sweep={quoted(folder.name)}", f"hydra.sweep.dir={quoted(str(folder))}"]
        assert self.launcher is not None
        try:
            self.launcher.launch([[*overrides, *extra] for overrides in batch], initial_job_idx=first)
        except Exception as error:
            log.warning("the launcher failed (%s)", error)
