"""The jobs of a sweep, and what is said about them: the plan before the first, a line after each, the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import CompactHydraException

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    from kdbench.plan import Step

NO_RUN = ("impossible", "excluded")
TO_MAKE = {"data": "data set{s} to tokenise", "teacher": "teacher{s} to train", "stage": "stage{s} to train"}


class SweepError(KdbenchError, CompactHydraException):
    """A `KdbenchError` out of a sweeper, which Hydra too prints as its one sentence, without a trace."""


@dataclass
class Job:
    """One cell of a sweep, or a control. Those with the same signature are one run: the first of them has the number.

    `number` is Hydra's, and the name of the job's folder; None where nothing is to be launched. `label` is the part of
    the overrides that tells the job from the others. `control` says that the run is the control of some cell (which a
    cell of the grid can be too), `matched` is the signature of a cell's own control. `shared_by` says how many
    stages of the runs to be computed read the least shared of its teacher's outputs.
    """

    overrides: tuple[str, ...]
    label: str
    status: str = "planned"
    signature: str | None = None
    reason: str | None = None
    axes: dict[str, str] = field(default_factory=dict)
    number: int | None = None
    score: float | None = None
    control: bool = False
    matched: str | None = None
    shared_by: int = 1

    @property
    def added(self) -> tuple[str, ...]:
        """Overrides that the plan adds to the cell's own; none of them changes the result."""
        return (f"teacher.shared_by={self.shared_by}",) if self.shared_by > 1 else ()


def reason_of(error: BaseException) -> str:
    """Why a job failed, on one line: a user's mistake in its own words, anything else with the name of its class."""
    text = " ".join(str(error).split())
    return text if isinstance(error, KdbenchError) else f"{type(error).__name__}: {text}"


def number_jobs(jobs: Iterable[Job]) -> list[Job]:
    """Give every run that is to be computed its number, each signature once; the jobs to launch, in order."""
    launched: dict[str | None, Job] = {}
    for job in jobs:
        if job.status == "planned" and job.signature not in launched:
            job.number = len(launched)
            launched[job.signature] = job
    return list(launched.values())


def runs(jobs: Iterable[Job]) -> list[Job]:
    """The distinct runs of a sweep, each by its first cell, without the cells that are none."""
    distinct: dict[str | None, Job] = {}
    for job in jobs:
        if job.status not in NO_RUN:
            distinct.setdefault(job.signature, job)
    return list(distinct.values())


def describe(
    jobs: Sequence[Job],
    steps: Iterable[Step],
    idle: Iterable[str] = (),
    every_cell: bool = False,
    outputs: Iterable[str] = (),
) -> str:
    """The plan: how many runs, how many of them are in the store, what has to be made first, what cannot be and why.

    Args:
        jobs: all cells, planned.
        steps: what the runs to compute need, repeated where runs share it.
        idle: exclusions that match no cell, which is worth a line.
        every_cell: list the cells too.
        outputs: lines about the outputs of teachers.
    """
    counted = Counter(job.status for job in runs(jobs))
    cells = Counter(job.status for job in jobs)
    again = sum(1 for job in jobs if job.status not in NO_RUN) - sum(counted.values())
    parts = [f"{counted['planned']} to run", f"{counted['reused']} in the store already"]
    parts += [f"{again} the same run as another"] if again else []
    parts += [f"{cells[status]} {status}" for status in NO_RUN if cells[status]]
    lines = [f"{_count(len(jobs), 'cell')}{_controls(jobs)}: {', '.join(parts)}"]
    missing = {(step.kind, step.signature): step.label for step in steps if not step.done}
    for kind, words in TO_MAKE.items():
        labels = [label for (other, _), label in missing.items() if other == kind]
        if labels:
            names = _shortened(list(dict.fromkeys(labels)))
            lines.append(f"  {len(labels)} {words.format(s='' if len(labels) == 1 else 's')}: {names}")
    lines += [f"  {line}" for line in outputs]
    lines += _impossible(jobs)
    lines += [f"  the exclusion {entry} matches no cell" for entry in idle]
    return "\n".join([*lines, *(_cells(jobs) if every_cell else [])])


def progress(jobs: Sequence[Job], job: Job) -> str:
    """The line after a job: which it was, how it ended, and how far the sweep is."""
    counted = Counter(each.status for each in runs(jobs))
    total, left = sum(counted.values()), counted["planned"]
    ending = f"score {job.score:.4g} " if job.score is not None else ""
    because = f"{job.reason} " if job.status == "failed" else ""
    label = f"{job.label}: " if because else f"{job.label} "
    state = f"({counted['reused']} reused, {counted['failed']} failed, {left} left)"
    return f"[{total - left}/{total}] {job.status}: {label}{because}{ending}{state}"


def summary(jobs: Sequence[Job], folder: Path) -> str:
    """The end of a sweep: how the runs ended and, for each failed one, its reason and its folder."""
    distinct = runs(jobs)
    counted = Counter(job.status for job in distinct)
    lines = [f"{_count(len(distinct), 'run')}: " + ", ".join(f"{counted[key]} {key}" for key in sorted(counted))]
    for job in distinct:
        if job.status == "failed":
            where = f" ({folder / str(job.number)})" if job.number is not None else ""
            lines.append(f"  failed: {job.label}: {job.reason}{where}")
    return "\n".join(lines)


def failure(jobs: Sequence[Job]) -> str | None:
    """One sentence about the runs that failed; None if there are none."""
    distinct = runs(jobs)
    failed = [job for job in distinct if job.status == "failed"]
    if not failed:
        return None
    reasons = _shortened(list(dict.fromkeys(str(job.reason) for job in failed)))
    share = f"{len(failed)} of {_count(len(distinct), 'run')}"
    return f"{share} failed ({reasons}): the same command runs only what is missing"


def _controls(jobs: Sequence[Job]) -> str:
    number = len({job.signature or job.label for job in jobs if job.control})
    return f", {_count(number, 'control')} among them" if number else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shortened(items: Sequence[str], most: int = 4) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _impossible(jobs: Sequence[Job]) -> list[str]:
    reasons: dict[str | None, list[str]] = {}
    for job in jobs:
        if job.status == "impossible":
            reasons.setdefault(job.reason, []).append(job.label)
    lines = []
    for reason, labels in reasons.items():
        lines += [f"  impossible, {_count(len(labels), 'cell')}: {reason}", *(f"    {label}" for label in labels)]
    return lines


def _cells(jobs: Sequence[Job]) -> list[str]:
    first: dict[str | None, Job] = {}
    lines = []
    for job in jobs:
        if job.status == "impossible":
            continue
        seen = first.setdefault(job.signature, job) if job.status != "excluded" else job
        words = {"planned": "to run", "reused": "in the store", "excluded": "excluded"}[job.status]
        whose = " (control)" if job.control else ""
        lines.append(f"  {f'same as {seen.label}' if seen is not job else words}: {job.label}{whose}")
    return lines
