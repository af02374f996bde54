"""A small Hydra application with kdbench's sweeper: real grid, composition, launchers and sweep.json; a stub engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from joblib.externals.loky import get_reusable_executor
from omegaconf import DictConfig, OmegaConf

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.outcome import Outcome
from kdbench.sweep import Job

TRAIN = """
defaults:
  - _self_
  - knowledge: hidden
  - extra: none
  - override hydra/sweeper: kdbench
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
seed: 1
note: null
plan: false
sweep: null
paths: {store: STORE}
hydra:
  job: {chdir: false}
  sweep: {dir: SWEEPS/first, subdir: "${hydra.job.num}"}
"""


@dataclass(frozen=True)
class Application:
    """The application's folders and its `kdbench -m`."""

    folder: Path
    store: Path
    task: Callable[[DictConfig], Any]

    @property
    def sweep_folder(self) -> Path:
        return self.folder / "sweeps" / "first"

    def write(self, name: str, text: str) -> None:
        path = self.folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def sweep(
        self, *overrides: str, config_name: str = "train", task: Callable[[DictConfig], Any] | None = None
    ) -> list[Job]:
        hydra = Hydra.create_main_hydra2("application", create_config_search_path(str(self.folder / "conf")))
        try:
            found: list[Job] = hydra.multirun(config_name, task or self.task, list(overrides), False)
            return found
        finally:
            GlobalHydra.instance().clear()

    def computed(self) -> list[str]:
        """The runs in the store, in the order of their making."""
        return sorted(os.listdir(self.store), key=lambda name: (self.store / name).stat().st_mtime_ns)


def make_task() -> Callable[[DictConfig], Outcome]:
    """A task that puts a run into the store, or fails as `cfg.note` says; a closure, to travel to worker processes."""

    def task(cfg: DictConfig) -> Outcome:
        name = f"{cfg.knowledge.name}-{cfg.seed}"
        if cfg.note == f"fail {name}":
            return Outcome("failed", name, None, "the loss is NaN: lower optimizer.lr")
        if cfg.note == f"raise {name}":
            raise RuntimeError("out\nof order")
        if cfg.note == f"exit {name}":
            raise SystemExit(3)
        if cfg.note == f"die {name}":
            os._exit(9)
        run = Path(cfg.paths.store) / name
        run.mkdir(parents=True, exist_ok=True)
        (run / "sweep").write_text(str(cfg.sweep))
        return Outcome("finished", name, cfg.seed / 10)

    return task


def stub_plan(cfg: DictConfig, store: Any) -> Any:
    """Label knowledge has no seed; attention knowledge is impossible; vocabulary knowledge is a mistake."""
    name = cfg.knowledge.name
    if name == "attention":
        raise ImpossibleError("attention needs scores: choose knowledge=hidden")
    if name == "vocabulary":
        raise KdbenchError("knowledge=vocabulary needs a column: name it")
    signature = f"{name}-1" if name == "label" else f"{name}-{cfg.seed}"
    finished = (store.root / signature).is_dir()
    steps = [SimpleNamespace(kind="teacher", signature="t", label="minilm on reviews", done=finished)]
    return SimpleNamespace(signature=signature, everything=lambda: steps, finished=finished)


def stub_demands(cfg: DictConfig, plan: Any) -> list[Any]:
    """Nothing is read of a teacher."""
    return []


def stub_complete(cfg: DictConfig) -> DictConfig:
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return OmegaConf.merge(plain, {"axes": {"knowledge": cfg.knowledge.name, "seed": str(cfg.seed)}})


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    monkeypatch.setattr("kdbench.config.complete", stub_complete)
    monkeypatch.setattr("kdbench.config.unused_axes", lambda cfg, overrides: (cfg.get("extra") or {}).get("unused"))
    monkeypatch.setattr("kdbench.planning.plan_run", stub_plan)
    monkeypatch.setattr("kdbench.teacher_outputs.reading.demands", stub_demands)
    monkeypatch.chdir(tmp_path)
    version.setbase("1.3")
    made = Application(tmp_path, tmp_path / "store", make_task())
    made.write("train", TRAIN.replace("STORE", str(made.store)).replace("SWEEPS", str(tmp_path / "sweeps")))
    for name in ("hidden", "logits", "attention", "vocabulary", "label"):
        made.write(f"knowledge/{name}", f"name: {name}\nweight: 1.0\n")
    made.write("extra/none", "{}\n")
    made.write("extra/unused", "unused: knowledge is not read by this method\n")
    made.write("extra/sweeping", "# @package _global_\nhydra: {sweeper: {params: {seed: '1,2'}}}\n")
    yield made
    version.setbase(None)
    get_reusable_executor().shutdown(wait=True)  # a worker keeps the standard output it began with
