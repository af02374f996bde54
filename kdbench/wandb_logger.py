"""Weights & Biases as an extra sink of numbers: it can neither fail a run nor hold it up."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers.logger import Logger

from kdbench.error import KdbenchError

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
HOST = "api.wandb.ai"
"""Under which `wandb login` has always filed keys for the public server, whatever that is called now."""


class WandbLogger(Logger):
    """One W&B run. After the first fault of W&B it warns and is silent; records are written elsewhere.

    Unlike Lightning's own logger of this name it shares no run between fits, uploads nothing but numbers, and lets no
    exception of W&B into the training.
    """

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    @classmethod
    def start(cls, cfg: DictConfig, folder: Path, axes: Mapping[str, str], name: str, group: str | None) -> WandbLogger:
        """Begin a run in the mode of `logger.wandb.mode`; where online fails, offline, with one warning."""
        wanted = OmegaConf.to_container(cfg.logger.wandb, resolve=True)
        assert isinstance(wanted, dict)
        if wanted["mode"] not in MODES:
            raise KdbenchError(f"logger.wandb.mode={wanted['mode']} is unknown; choose one of {', '.join(MODES)}")
        config = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(config, dict)
        options = {
            "project": wanted["project"],
            "entity": wanted["entity"],
            "tags": wanted["tags"],
            "dir": str(wanted["folder"] or folder),
            "name": name,
            "group": group,
            "config": {**config, **{f"axis/{axis}": value for axis, value in axes.items()}},
        }
        return cls(_start(options, wanted["settings"], wanted["mode"]))

    @property
    def name(self) -> str | None:
        return "wandb"

    @property
    def version(self) -> str | None:
        return None if self._run is None else str(self._run.id)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers over `step`, an optimizer step."""
        self._try(lambda run: run.log(dict(metrics) if step is None else {**metrics, "step": step}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the whole configuration was given at the start."""

    def summarise(self, summary: Mapping[str, float]) -> None:
        """Set the final metrics, the columns of W&B's table of runs."""
        self._try(lambda run: run.summary.update(dict(summary)))

    def close(self, exit_code: int) -> None:
        """End the run; what is not uploaded within `settings.finish_timeout` seconds stays on the disk."""
        self._try(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _try(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # of any class: a tracker must not end a run
            log.warning("W&B failed (%s); the run goes on without it", _reason(error))
            self._run = None


def _start(options: Mapping[str, Any], settings: Mapping[str, Any], mode: str) -> Any:
    """The W&B run, or None where not even an offline one can be had."""
    chosen = _mode(mode)
    for attempt in dict.fromkeys((chosen, "offline")):
        try:
            return _initialise(options, settings, attempt)
        except Exception as error:  # no package, no network, a refused key, a full disk, a service that does not start
            then = "without W&B" if attempt == "offline" else "offline; `wandb sync` uploads it later"
            log.warning("W&B could not start %s (%s): the run goes on %s", attempt, _reason(error), then)
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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
