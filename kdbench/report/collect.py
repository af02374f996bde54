"""From a folder to a `Study`: the jobs that belong to it, each with its record or with the reason why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.error import KdbenchError
from kdbench.json_file import read_json
from kdbench.report.trial import Trials, trials_of
from kdbench.store import Store

SWEEP, RUN, RECORD = "sweep.json", "run.json", "record.json"
REQUIRED = ("signature", "task", "score", "metrics", "student")  # what a row of the table cannot do without
SHOULD_HAVE_A_RECORD = ("finished", "reused")
REASONS = {
    "planned": "not run yet; repeat the command of the sweep to compute it",
    "failed": "no reason was written; the log in the job's folder has the trace",
    "excluded": "excluded by the sweep file",
}


@dataclass(frozen=True)
class Job:
    """One cell and seed of a study. `record` is None where there is no result; then `reason` says why. `store` is that
    which was looked into."""

    status: str
    signature: str | None
    axes: Mapping[str, str]
    overrides: tuple[str, ...]
    reason: str | None
    record: Mapping[str, Any] | None
    store: Store | None = None

    @property
    def label(self) -> str:
        """The overrides of the job, which make it anew behind `kdbench`; its axes where no overrides are known."""
        return " ".join(self.overrides or [f"{name}={value}" for name, value in self.axes.items()])


@dataclass(frozen=True)
class Study:
    """What a report is about. `is_store` where the folder is a whole store, in which no report belongs; `searches` are
    the trials of those that are among its sweeps."""

    name: str
    folder: Path
    jobs: tuple[Job, ...]
    is_store: bool = False
    searches: tuple[Trials, ...] = ()

    @property
    def runs(self) -> tuple[Job, ...]:
        """The jobs with a result."""
        return tuple(job for job in self.jobs if job.record is not None)

    @property
    def without_result(self) -> tuple[Job, ...]:
        """The jobs that a reader must know to be absent from the tables."""
        return tuple(job for job in self.jobs if job.record is None)

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for every result that should be there and is missing or damaged."""
        return tuple(job.reason or "" for job in self.jobs if job.status in ("missing", "damaged"))


def collect(folder: Path, store: Path | None = None) -> Study:
    """The study of a sweep's folder, of a run's folder, of a folder of several, or of a whole store.

    `store` replaces the store that the folder names (for a study that was carried to another machine). Raises
    `KdbenchError` where there is no such folder, nothing to report, or a sweep.json or run.json that cannot be read.
    """
    if not folder.is_dir():
        raise KdbenchError(f"there is no folder {folder}; give the folder of a sweep, of a run, or a store")
    members = _members(folder)
    is_store = not members and (folder / "run").is_dir()
    if is_store:
        jobs = [job for path in sorted((folder / "run").iterdir()) if path.is_dir() for job in _stored(path)]
        name = folder.resolve().name
    else:
        read = [_sweep(path, store) if path.name == SWEEP else _run(path, store) for path in members]
        jobs = [job for _, found in read for job in found]
        name = read[0][0] if len(read) == 1 else folder.resolve().name
    if not jobs:
        raise KdbenchError(f"{folder} holds no runs: neither {SWEEP} nor {RUN} (searched two levels down) nor a store")
    searches = [found for path in members if path.name == SWEEP and (found := _search(path)) is not None]
    return Study(name, folder, tuple(jobs), is_store, tuple(searches))


def _members(folder: Path) -> list[Path]:
    """The sweep and run files of the folder itself, else of the folders one and two levels below it."""
    for name in (SWEEP, RUN):
        if (folder / name).is_file():
            return [folder / name]
    found: list[Path] = []
    for child in sorted(folder.iterdir()):
        if not child.is_dir():
            continue
        # The jobs' own folders inside a sweep's folder are that sweep's, not runs beside it.
        here = [child / name for name in (SWEEP, RUN) if (child / name).is_file()][:1]
        deeper = [
            [grandchild / name for name in (SWEEP, RUN) if (grandchild / name).is_file()][:1]
            for grandchild in sorted(child.iterdir())
        ]
        found += here or [path for paths in deeper for path in paths]
    return found


def _sweep(path: Path, store: Path | None) -> tuple[str, list[Job]]:
    content = _object(path)
    root = store or Path(_key(content, "store", path))
    jobs = [
        _job(
            root,
            status=str(entry.get("status", "planned")),
            signature=entry.get("signature"),
            axes=entry.get("axes") or {},
            overrides=tuple(entry.get("overrides") or ()),
            reason=entry.get("reason"),
        )
        for entry in _key(content, "jobs", path)
    ]
    return str(content.get("name") or path.parent.resolve().name), jobs


def _search(path: Path) -> Trials | None:
    """The trials of a search's file.

    Raises:
        KdbenchError: trials that cannot be read.
    """
    try:
        return trials_of(_object(path), path.parent.resolve().name)
    except (KeyError, TypeError, ValueError) as error:
        raise KdbenchError(
            f"{path} has trials that cannot be read ({error!r}); repeat the command that made it"
        ) from error


def _run(path: Path, store: Path | None) -> tuple[str, list[Job]]:
    content = _object(path)
    root = store or Path(_key(content, "store", path))
    # Written before the run began: where it failed, its record is missing.
    job = _job(root, "finished", _key(content, "signature", path), content.get("axes") or {}, (), None)
    return path.parent.resolve().name, [job]


def _job(
    store: Path,
    status: str,
    signature: str | None,
    axes: Mapping[str, Any],
    overrides: tuple[str, ...],
    reason: str | None,
) -> Job:
    """The job with its record, looked for whatever the status: a killed sweep never wrote the last statuses."""
    texts = {name: str(value) for name, value in axes.items()}
    bare = Job(status, signature, texts, overrides, reason or REASONS.get(status), None, Store(store))
    path = store / "run" / str(signature) / RECORD
    if signature is not None and path.is_file():
        try:
            return replace(bare, reason=None, record=_record(path))
        except KdbenchError as error:
            return replace(bare, status="damaged", reason=str(error))
    if status in SHOULD_HAVE_A_RECORD:
        again = f"compute it again with `kdbench {bare.label}`" if bare.label else "repeat the `kdbench` command"
        said = f"the record of run {signature} is not in the store {store}; {again}"
        return replace(bare, status="missing", reason=said)
    return bare


def _stored(path: Path) -> list[Job]:
    """The job of one folder of a store; an interrupted run is a job without a result."""
    if path.suffix == ".removed":
        return []
    if path.suffix == ".partial":
        reason = "interrupted or still running; the command that began it goes on from its last checkpoint"
        return [Job("unfinished", path.name.removesuffix(".partial"), {}, (), reason, None)]
    return [_job(path.parent.parent, "finished", path.name, {}, (), None)]


def _record(path: Path) -> Mapping[str, Any]:
    record = _object(path)
    absent = [key for key in REQUIRED if key not in record]
    if absent:
        raise KdbenchError(
            f"{path} lacks {', '.join(absent)}; run `kdbench-store prune --damaged` and compute it again"
        )
    return record


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise KdbenchError(f"{path} holds no JSON object; repeat the command that made it")
    return content


def _key(content: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise KdbenchError(f"{path} has no {key!r}; repeat the command that made this folder")
    return content[key]
