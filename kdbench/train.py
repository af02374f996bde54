"""The console front `kdbench`: one run, or a sweep with -m."""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import hydra
from omegaconf import DictConfig

from kdbench.composition_error import of_composition, refuse_flags, sentence
from kdbench.config import CONF_DIR
from kdbench.disk_fault import FULL, UNWRITABLE
from kdbench.error import KdbenchError, shows_errors
from kdbench.kept_memory import keep_freed_memory
from kdbench.outcome import Outcome
from kdbench.quick_composition import compose_quickly
from kdbench.search.pruning import Pruned
from kdbench.sweep import reason_of

if TYPE_CHECKING:
    from kdbench.plan import RunPlan

log = logging.getLogger(__name__)

# Two processes side by side stall each other where their OpenMP threads spin; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Everything is loaded from local folders; the hub is asked by `kdbench.pretrained` and `kdbench.data.hub` alone.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def job(cfg: DictConfig) -> Outcome:
    """Hydra's task function: complete, plan, run; every failure becomes an `Outcome`, a defect's trace is logged."""
    keep_freed_memory()
    signature = None
    try:
        completed = _completed(cfg)
        from kdbench.planning import plan_run
        from kdbench.store import Store

        plan = plan_run(completed, Store(completed.paths.store))
        signature = plan.signature
        if completed.plan:
            _show(completed, plan)
            return Outcome("reused" if plan.finished else "finished", signature, None)
        return _run(completed, plan)
    except Pruned as error:
        log.info("%s", error)
        return Outcome("pruned", signature, None, str(error))
    except KdbenchError as error:
        return Outcome("failed", signature, None, reason_of(error))
    except Exception as error:
        if (unwritable := _unwritable(error)) is not None:
            return Outcome("failed", signature, None, unwritable)
        log.error("%s", traceback.format_exc())
        defect = f"{reason_of(error).strip()} (a defect of kdbench or of a library: the trace is in the job's log)"
        return Outcome("failed", signature, None, defect)
    finally:
        gc.collect()


def _completed(cfg: DictConfig) -> DictConfig:
    """The complete configuration; of a single run, also whether every axis set on its command line is read."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from kdbench.config import complete, unused_axes

    alone = HydraConfig.get().mode == RunMode.RUN
    if alone and (sentence := unused_axes(cfg, list(HydraConfig.get().overrides.task))) is not None:
        raise KdbenchError(sentence)
    return complete(cfg)


def _show(completed: DictConfig, plan: RunPlan) -> None:
    """Log the steps of a run that is planned only."""
    from kdbench.store import Store
    from kdbench.teacher_outputs.reading import demands, describe

    for step in plan.everything():
        state = "in the store" if step.done else "to compute"
        log.info("%-8s %s  %s  (%s)", step.kind, step.signature, state, step.label)
    for line in describe([demands(completed, plan)], Store(completed.paths.store)):
        log.info("%s", line)


def _run(completed: DictConfig, plan: RunPlan) -> Outcome:
    """The run's end, computed if it is not in the store; `run.json` in the job's folder points to the run."""
    from hydra.core.hydra_config import HydraConfig

    from kdbench.pipeline import answer
    from kdbench.store import Store, write_json

    folder = Path(HydraConfig.get().runtime.output_dir)
    store = str(Store(completed.paths.store).root)
    write_json(folder / "run.json", {"store": store, "signature": plan.signature, "axes": dict(completed.axes)})
    record, computed = answer(completed, plan, folder)
    ending: Literal["finished", "reused"] = "finished" if computed else "reused"
    name = record["score"]
    score, teacher = float(record["metrics"][name]), ((record["teacher"] or {}).get("metrics") or {}).get(name)
    beside = "" if teacher is None else f" (teacher {teacher:.4f})"
    log.info("%s: %s = %.4f%s, run %s", ending, name, score, beside, plan.signature)
    return Outcome(ending, plan.signature, score)


@shows_errors
def main() -> None:
    """Compose, run, and say a user's mistake in one sentence."""
    refuse_flags(sys.argv[1:])
    compose_quickly()
    outcomes: list[Outcome] = []

    def kdbench(cfg: DictConfig) -> Outcome:
        outcomes.append(job(cfg))
        return outcomes[-1]

    # Hydra would print composition errors itself, over several lines; with this it lets them through.
    full_errors = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # a log file on a full disk must not print a trace for each of its lines
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")(kdbench)()
    except KdbenchError:  # a sweep's, which is one of Hydra's too
        raise
    except Exception as error:
        reason = sentence(error) if of_composition(error) else _unwritable(error)
        if reason is None or full_errors == "1":
            raise
        raise KdbenchError(reason) from error
    finally:
        if full_errors is None:
            del os.environ["HYDRA_FULL_ERROR"]
    if outcomes and (last := outcomes[-1]).status == "failed":
        raise KdbenchError(last.reason)


def _unwritable(error: Exception) -> str | None:
    """The sentence for a folder of the run, outside the store, that is full or cannot be written; else None."""
    if not isinstance(error, OSError) or error.errno not in (*FULL, *UNWRITABLE):
        return None
    return (
        f"the folder of the run cannot be written ({error.strerror}{f': {error.filename}' if error.filename else ''}): "
        "free some space there, or choose another with hydra.run.dir=... (of a sweep: hydra.sweep.dir=...)"
    )


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[func-returns-value]
