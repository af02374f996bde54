"""`sweep.json`, the one state of a sweep, and the task that enters a job's end in it.

Every job enters its end itself, in whatever process it ran, so that the file and the line of progress are right under
any launcher, and after a `kill -9`.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdbench.error import KdbenchError
from kdbench.json_file import read_json, write_json
from kdbench.sweep import NO_RUN, Job, progress, reason_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdbench.outcome import Outcome

log = logging.getLogger(__name__)

FILE = "sweep.json"


def claim(wanted: Path) -> tuple[Path, FileLock]:
    """A sweep folder of our own, with the lock that says so: another sweep may begin in the same second."""
    wanted = wanted.absolute()
    folder, count = wanted, 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".running.lock")
            lock.acquire(timeout=0)
            return folder, lock
        except Timeout:
            count += 1
            folder = wanted.with_name(f"{wanted.name}-{count}")
        except OSError as error:
            raise KdbenchError(
                f"hydra.sweep.dir={wanted} cannot be written ({error.strerror}): choose another"
            ) from None


def write_sweep(
    folder: Path, name: str, store: Path, jobs: Sequence[Job], search: Mapping[str, Any] | None = None
) -> None:
    """Write `sweep.json`, whole or not at all; of a search with its trials, see `kdbench.search.result.as_record`."""
    content = {"name": name, "store": str(store), "jobs": [asdict(job) for job in jobs]}
    write_json(folder / FILE, content if search is None else {**content, "search": search})


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep's folder, as they stand."""
    return [Job(**{**entry, "overrides": tuple(entry["overrides"])}) for entry in read_json(folder / FILE)["jobs"]]


def planned(folder: Path) -> set[int]:
    """The numbers of the jobs that have not ended."""
    return {job.number for job in read_jobs(folder) if job.status == "planned" and job.number is not None}


def enter(folder: Path, number: int, status: str, reason: str | None, score: float | None) -> str:
    """Enter the end of a job, and of the cells that are the same run, in `sweep.json`; the line of progress."""
    score = score if score is not None and math.isfinite(score) else None  # JSON has no NaN
    with FileLock(folder / f"{FILE}.lock"):
        content = read_json(folder / FILE)
        jobs = read_jobs(folder)
        ended = next(job for job in jobs if job.number == number)
        for job in jobs:
            if job.signature == ended.signature and job.status not in NO_RUN:
                job.status, job.score = status, score
                job.reason = reason if status == "failed" else job.reason
        write_sweep(folder, content["name"], Path(content["store"]), jobs)
    return progress(jobs, ended)


class Entered:
    """The task of a sweep's jobs: runs the job, enters its end in `sweep.json`, prints the line of progress.

    An exception that the job lets through becomes a failed outcome here, so that it keeps nothing of the job alive and
    ends no other job. The object travels to a launcher's worker processes.
    """

    def __init__(self, task: Callable[[DictConfig], Any]) -> None:
        self.task = task
        self.folder: Path | None = None

    def __call__(self, cfg: DictConfig) -> Outcome:
        import typer
        from hydra.core.hydra_config import HydraConfig

        assert self.folder is not None
        number = int(HydraConfig.get().job.num)
        outcome = self._outcome(cfg)
        typer.echo(enter(self.folder, number, outcome.status, outcome.reason, outcome.score))
        return outcome

    def _outcome(self, cfg: DictConfig) -> Outcome:
        from kdbench.outcome import Outcome

        try:
            outcome = self.task(cfg)
        except (Exception, SystemExit) as error:
            log.error("%s", traceback.format_exc())  # as text: a log record of the exception would keep the job alive
            return Outcome("failed", None, None, reason_of(error))
        if not isinstance(outcome, Outcome):
            return Outcome("failed", None, None, f"the task returned {type(outcome).__name__}, not an Outcome")
        return outcome
