"""The console front `kdbench`: one run, or a sweep with -m."""

from __future__ import annotations

import difflib
import gc
import logging
import os
import re
import sys
import traceback
from pathlib import Path

import hydra
from omegaconf import DictConfig

from kdbench.config import CONF_DIR
from kdbench.error import KdbenchError, shows_errors
from kdbench.outcome import Outcome

log = logging.getLogger(__name__)

# Two processes side by side stall each other where their OpenMP threads spin; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Everything is loaded from local folders; the hub is asked by `kdbench.pretrained` and `kdbench.data.hub` alone.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def job(cfg: DictConfig) -> Outcome:
    """Hydra's task function: complete, plan, run; every failure becomes an `Outcome`, its trace a line of the job's log."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from kdbench.config import complete, unused_axes

    alone = HydraConfig.get().mode == RunMode.RUN
    signature = None
    try:
        if alone and (sentence := unused_axes(cfg, list(HydraConfig.get().overrides.task))) is not None:
            raise KdbenchError(sentence)
        completed = complete(cfg)
        from kdbench.pipeline import run
        from kdbench.plan import plan_run
        from kdbench.store import Store, write_json

        store = Store(completed.paths.store)
        plan = plan_run(completed, store)
        signature = plan.signature
        folder = Path(HydraConfig.get().runtime.output_dir)
        if completed.plan:
            for step in plan.steps:
                log.info("%-8s %s  %s  (%s)", step.kind, step.signature, "in the store" if step.done else "to compute",
                         step.label)  # fmt: skip
            return Outcome("reused" if plan.finished else "finished", signature, None)
        pointer = {"store": str(store.root), "signature": signature, "axes": dict(completed.axes)}
        write_json(folder / "run.json", pointer)
        record = run(completed, folder, plan)
        score = float(record["metrics"][record["score"]])
        teacher = record["teacher"]["metrics"].get(record["score"])
        log.info("%s: %s = %.4f (teacher %.4f), run %s", "reused" if plan.finished else "finished", record["score"], score,
                 teacher, signature)  # fmt: skip
        return Outcome("reused" if plan.finished else "finished", signature, score)
    except KdbenchError as error:
        return Outcome("failed", signature, None, " ".join(str(error).split()))
    except Exception as error:
        log.error("%s", traceback.format_exc())
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(
            "failed", signature, None, f"{reason} (a defect of kdbench or of a library: the trace is in the job's log)"
        )
    finally:
        gc.collect()


@shows_errors
def main() -> None:
    """Compose, run, and say a user's mistake in one sentence."""
    outcomes: list[Outcome] = []

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
    def kdbench(cfg: DictConfig) -> Outcome:
        outcomes.append(job(cfg))
        return outcomes[-1]

    # Hydra would print composition errors itself, over several lines; with this it lets them through.
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        kdbench()
    except KdbenchError:
        raise
    except Exception as error:
        if full_errors or not _of_composition(error):
            raise
        raise KdbenchError(sentence(error)) from error
    if outcomes and (last := outcomes[-1]).status == "failed":
        raise KdbenchError(last.reason)


def _of_composition(error: Exception) -> bool:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, HydraException | OmegaConfBaseException)


def sentence(error: Exception) -> str:
    """One sentence out of Hydra's many lines: what could not be found or set, and the nearest that could."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = re.findall(r"^\t(\S+)", text.partition("Available options")[2], re.MULTILINE)
        return f"{group}={option} is no option of {group}: choose {_nearest(option, options)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        missing = re.search(r"Key '([^']+)' is not in struct", text)
        names = f" (there is no '{missing[1]}')" if missing else ""
        return f"{found[1]} is no key of the configuration{names}: `kdbench --cfg job` shows them all"
    first = " ".join(text.split("\nSee ")[0].split("\nSet the environment")[0].split())
    return f"{first}: see `kdbench --help`"


def _nearest(name: str, options: list[str]) -> str:
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    return " or ".join(close) if close else ", ".join(options) or "one that `kdbench --help` lists"


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[func-returns-value]
