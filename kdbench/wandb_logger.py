"""Weights & Biases: numbers and tables of runs, in the group of their sweep."""

from __future__ import annotations

import netrc
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from kdbench.error import KdbenchError
from kdbench.example_table import confusion, example_table
from kdbench.tracker import Tracker, columns, log, reason
from kdbench.value import switch, whole

if TYPE_CHECKING:
    from kdbench.finished_run import FinishedRun

MODES = ("auto", "online", "offline", "disabled")
HOST = "api.wandb.ai"
"""Under which `wandb login` has always filed keys for the public server, whatever that is called now."""


class WandbLogger(Tracker):
    """One W&B run. It begins and is told everything, in order, on a thread of its own: its import and the start of its
    service take seconds, in which the training goes on. The run waits for it at its end alone.

    Args:
        begin: begins the run of W&B; None where there is none to be had.
        examples: rows of the table of examples; 0: no tables.
        artifact: whether the finished student is uploaded.
    """

    title = "W&B"

    def __init__(self, begin: Callable[[], Any], examples: int = 0, artifact: bool = False) -> None:
        super().__init__(None)
        self.examples, self.artifact = examples, artifact
        self._line = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")
        self._line.submit(self._begin, begin)

    def _begin(self, begin: Callable[[], Any]) -> None:
        self._run = begin()

    def attempt(self, action: Callable[[Any], object]) -> None:
        """Have something done with W&B's run, after all that was asked before."""
        self._line.submit(super().attempt, action)

    @classmethod
    def start(cls, cfg: DictConfig, folder: Path, axes: Mapping[str, str], name: str, group: str | None) -> WandbLogger:
        """Begin a run in the mode of `logger.wandb.mode`; where online fails, offline, with one warning."""
        wanted = settings_of(cfg)
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        options = options_of(wanted, folder, name, group) | {"config": columns(config, axes), "job_type": "run"}
        return cls(partial(begin, options, wanted), wanted["examples"], wanted["artifact"])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers over `step`, an optimizer step."""
        row = dict(metrics) if step is None else {**metrics, "step": step}
        self.attempt(lambda run: run.log(row))

    def summarise(self, summary: Mapping[str, float]) -> None:
        """Set the final numbers, the columns of W&B's table of runs."""
        final = dict(summary)
        self.attempt(lambda run: run.summary.update(final))

    def show(self, run: FinishedRun) -> None:
        """Log the tables `examples/validation`, where student and teacher are furthest apart, and, of classes,
        `confusion/validation`; the student as the artifact `student-<signature>`, if that was asked for."""
        if self.examples:
            self.attempt(lambda active: active.log(_tables(run, self.examples)))
        if self.artifact:
            self.attempt(lambda active: _upload(active, run))

    def close(self, exit_code: int) -> None:
        """End the run; what is not uploaded within `settings.finish_timeout` seconds stays on the disk."""
        self.attempt(lambda run: run.finish(exit_code=exit_code))
        self._line.shutdown(wait=True)


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """The node `logger.wandb`, checked.

    Raises:
        KdbenchError: an unknown mode, or a number of examples that is none.
    """
    wanted: Any = OmegaConf.to_container(cfg.logger.wandb, resolve=True)
    if wanted["mode"] not in MODES:
        raise KdbenchError(f"logger.wandb.mode={wanted['mode']} is unknown; choose one of {', '.join(MODES)}")
    whole("logger.wandb.examples", wanted["examples"], least=0)
    switch("logger.wandb.artifact", wanted["artifact"])
    return dict(wanted)


def options_of(wanted: Mapping[str, Any], folder: Path, name: str, group: str | None) -> dict[str, Any]:
    """What `wandb.init` is given of `logger.wandb`."""
    return {
        "project": wanted["project"],
        "entity": wanted["entity"],
        "tags": wanted["tags"],
        "dir": str(wanted["folder"] or folder),
        "name": name,
        "group": group,
    }


def _tables(run: FinishedRun, limit: int) -> dict[str, Any]:
    import wandb

    table = example_table(run)
    if table is None:
        return {}
    shown = table.head(limit)
    rows = [list(row) for row in shown.itertuples(index=False, name=None)]
    found = {"examples/validation": wandb.Table(columns=list(shown.columns), data=rows, allow_mixed_types=True)}
    if run.task.kind == "classification":
        counts = confusion(table, run.task.labels).tolist()
        data = [[label, *row] for label, row in zip(run.task.labels, counts, strict=True)]
        columns = ["label", *(f"said {label}" for label in run.task.labels)]
        found["confusion/validation"] = wandb.Table(columns=columns, data=data)
    return found


def _upload(active: Any, run: FinishedRun) -> None:
    """Log the student as an artifact, in the form that `kdbench-export` gives it."""
    import wandb

    from kdbench.export import export

    with tempfile.TemporaryDirectory() as folder:
        artifact = wandb.Artifact(f"student-{run.signature}", "model", metadata={"task": run.task.name})
        artifact.add_dir(str(export(run.store, run.signature, Path(folder) / "student")))
        active.log_artifact(artifact)  # its files are copied before they are uploaded


def begin(options: Mapping[str, Any], wanted: Mapping[str, Any]) -> Any:
    """The W&B run, or None where not even an offline one can be had."""
    chosen = _mode(wanted["mode"])
    for attempt in dict.fromkeys((chosen, "offline")):
        try:
            return _initialise(options, wanted["settings"], attempt)
        except Exception as error:  # no package, no network, a refused key, a full disk, a service that does not start
            then = "without W&B" if attempt == "offline" else "offline; `wandb sync` uploads it later"
            log.warning("W&B could not start %s (%s): the run goes on %s", attempt, reason(error), then)
    return None


def _initialise(options: Mapping[str, Any], settings: Mapping[str, Any], mode: Any) -> Any:
    import wandb

    Path(options["dir"]).mkdir(parents=True, exist_ok=True)
    run = wandb.init(**options, mode=mode, reinit="create_new", settings=wandb.Settings(**settings))
    run.define_metric("step", hidden=True)
    run.define_metric("*", step_metric="step")
    return run


def _mode(mode: str) -> str:
    """`auto` resolved: what WANDB_MODE says, else online where there is a key, else offline."""
    if mode != "auto":
        return mode
    said = os.environ.get("WANDB_MODE", "")
    if said in MODES[1:]:
        return said
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    """Whether W&B would find a key: in the environment, its settings or the netrc file. Nothing is sent."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        import wandb

        settings = wandb.setup().settings
        file = os.environ.get("NETRC") or next(
            (name for name in ("~/.netrc", "~/_netrc") if Path(name).expanduser().is_file()), None
        )
        known = netrc.netrc(Path(file).expanduser()) if file else None
        hosts = (urlsplit(settings.base_url).netloc, HOST)
        entries = [known.authenticators(host) for host in hosts] if known else []
        return bool(settings.api_key) or any(entry[2] for entry in entries if entry)
    except Exception:  # an unreadable file is a file without a key
        return False
