"""The console front `kdbench-evaluate`: a finished student on any data set of the same labels."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from kdbench.config import CONF_DIR, plain
from kdbench.error import KdbenchError, shows_errors

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Evaluate as a composed `conf/evaluate.yaml` says; returns the content of metrics.json.

    Args:
        cfg: its keys are explained in that file.
        folder: where predictions.parquet, metrics.json and a submission go if `cfg.out` is null.
    """
    from kdbench.run_reference import open_run

    if cfg.run is None:
        raise KdbenchError("run has no value: give a run as the first argument, as in `kdbench-evaluate <signature>`")
    store, signature = open_run(str(cfg.run), cfg.paths.store)  # before torch is imported: a refusal is instant
    from kdbench.device import resolve_device
    from kdbench.evaluation import Request, evaluate_run
    from kdbench.finished_run import FinishedRun

    data = cfg.get("data")
    request = Request(
        data=None if data is None else plain(data),
        data_root=Path(cfg.paths.data).expanduser(),
        split=str(cfg.split),
        batch_size=cfg.batch_size,
        device=resolve_device(cfg.device.accelerator),
        agreement=bool(cfg.agreement),
        submission=bool(cfg.submission),
        ood=plain(cfg.ood),
    )
    found = evaluate_run(FinishedRun(store, signature), request, Path(cfg.out or folder))
    elsewhere = {
        f"ood/{name}/{key}": value for name, of in found.get("ood", {}).items() for key, value in of["metrics"].items()
    }
    for name, value in {**found["metrics"], "agreement": found["agreement"], **elsewhere}.items():
        if value is not None:
            log.info("%s = %.4f", name, value)
    log.info("predictions of %d rows: %s", found["rows"], Path(cfg.out or folder))
    return found


@shows_errors
def main() -> None:
    """Compose, evaluate, and say a user's mistake in one sentence."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kdbench.composition_error import sentence

    mistakes: list[KdbenchError] = []

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="evaluate")  # type: ignore[untyped-decorator]
    def kdbench_evaluate(cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        try:
            evaluate(cfg, Path(HydraConfig.get().runtime.output_dir))
        except KdbenchError as error:  # said by this front alone: Hydra would add a line of its own
            mistakes.append(error)

    sys.argv[1:] = with_run(sys.argv[1:])
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints composition errors itself, over several lines
    try:
        kdbench_evaluate()
    except (HydraException, OmegaConfBaseException) as error:
        if full_errors:
            raise
        raise KdbenchError(sentence(error).replace("`kdbench ", "`kdbench-evaluate ")) from error
    if mistakes:
        raise mistakes[0]


def with_run(arguments: Sequence[str]) -> list[str]:
    """The command line as Hydra takes it: a first argument that is no option and no override becomes `run='...'`.

    A path that exists is a run, even with `=` in it, as Hydra's own folders have.
    """
    if not arguments or arguments[0].startswith(("-", "+", "~")):
        return list(arguments)
    first, *rest = arguments
    if "=" in first and not Path(first).exists():
        return list(arguments)
    escaped = first.replace("\\", "\\\\").replace("'", "\\'")
    return [f"run='{escaped}'", *rest]


if __name__ == "__main__":
    main()
