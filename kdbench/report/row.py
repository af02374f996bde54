"""From a record to flat rows: one for the run, one for the teacher beside it. Pure functions, no tables yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kdbench.report.collect import Job
from kdbench.report.control import CONTROL, METHOD, read_by_control

Value = float | int | str | None
NOT_TRAINING = (
    "data",
    "language",
    "vocabulary",
    "team",
    "teacher",
    "teacher_outputs",
    "evaluate",
    "ood",
    "cost",
)  # phases that are no stage of the student
OOD = "ood"
"""What the name of a score on another data set begins with."""
SIZES = ("total", "embeddings", "encoder")
BATCHES = ("batch_1", "batch_32")


def axis_names(jobs: Iterable[Job]) -> list[str]:
    """The axes of the jobs in order of appearance, without the seed. A job's own axes win over its record's."""
    names: dict[str, None] = {}
    for job in jobs:
        names.update(dict.fromkeys(job.axes or (job.record or {}).get("axes") or {}))
    return [name for name in names if name != "seed"]


def axis_value(job: Job, name: str) -> str:
    """What the job chose on an axis: as the sweep says, else as the record's axes or its config say, else empty.

    Two sweeps can share a run, and a record knows only the axes of the sweep that computed it. A control has no value
    on the axes that describe the terms of the others, whatever its configuration holds there.
    """
    record = job.record or {}
    if not read_by_control(name) and axis_value(job, METHOD) == CONTROL:
        return ""
    if name in job.axes:
        return job.axes[name]
    if name in (record.get("axes") or {}):
        return str(record["axes"][name])
    node: Any = record.get("config") or {}
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return "" if node is None or isinstance(node, Mapping) else str(node)


def score_key(record: Mapping[str, Any], split: str | None) -> str:
    """The metric that is the run's score, `split/name`; on another split when one is asked for."""
    own: str = record["score"]
    return own if split is None else f"{split}/{own.split('/', 1)[1]}"


def metric_names(jobs: Iterable[Job]) -> list[str]:
    """Every metric, `split/name` or `ood/set/name`, that a run of the jobs was given, in order of appearance."""
    records = [job.record or {} for job in jobs]
    own = [name for record in records for name in record.get("metrics", {})]
    return list(dict.fromkeys([*own, *(name for record in records for name in _elsewhere(record, "metrics"))]))


def _elsewhere(record: Mapping[str, Any], role: str) -> dict[str, float]:
    """Scores on other data sets, as `ood/set/name`, of the student (`metrics`) or its teacher (`teacher_metrics`)."""
    return {
        f"{OOD}/{name}/{metric}": value
        for name, found in (record.get("ood") or {}).items()
        for metric, value in found.get(role, {}).items()
    }


def run_row(job: Job, axes: Iterable[str], metrics: Iterable[str], split: str | None = None) -> dict[str, Value]:
    """The tidy row of a run with a record. Unknown values are None.

    `kept` is student score / teacher score, None where the teacher's is not above 0 (a Matthews correlation can be).
    Compression is teacher / student parameters, speed-up teacher / student latency.
    """
    record = job.record or {}
    key = score_key(record, split)
    teacher = record.get("teacher") or {}
    cost, teacher_cost = record["student"], _teacher_cost(record)
    score, reference = record["metrics"].get(key), (teacher.get("metrics") or {}).get(key)
    row: dict[str, Value] = {"task": record["task"]}
    row |= {name: axis_value(job, name) for name in axes}
    row |= {"seed": job.axes.get("seed", record.get("seed"))}
    told = {**record["metrics"], **_elsewhere(record, "metrics")}
    row |= {name: told.get(name) for name in metrics}
    row |= {"score_name": key, "score": score, "teacher_score": reference}
    row |= {"kept": _ratio(score, reference if reference is not None and reference > 0 else None)}
    row |= _cost_columns(cost)
    for size in ("total", "encoder"):
        row[f"compression_{size}"] = _ratio(_size(teacher_cost, size), _size(cost, size))
    for batch in BATCHES:
        row[f"speed_up_{batch}"] = _ratio(_latency(teacher_cost, batch), _latency(cost, batch))
    row |= {"train_seconds": train_seconds(record), "agreement": _agreement(record, key)}
    return row | {"teacher_signature": teacher.get("signature"), "signature": record["signature"]}


def teacher_row(
    job: Job, axes: Iterable[str], metrics: Iterable[str], split: str | None = None
) -> dict[str, Value] | None:
    """The row of the run's teacher, in the columns of `run_row`; None for a run without one.

    Only the axes that concern a teacher (data and teacher) carry a value.
    """
    record = job.record or {}
    teacher = record.get("teacher")
    if not teacher:
        return None
    key = score_key(record, split)
    own = teacher.get("metrics") or {}
    row: dict[str, Value] = {"task": record["task"]}
    row |= {name: axis_value(job, name) if concerns_teacher(name) else "" for name in axes}
    told = {**own, **_elsewhere(record, "teacher_metrics")}
    row |= {name: told.get(name) for name in metrics}
    row |= {"score_name": key, "score": own.get(key), "kept": 1.0 if key in own else None}
    row |= _cost_columns(_teacher_cost(record))
    return row | {"compression_total": 1.0, "compression_encoder": 1.0, "signature": teacher.get("signature")}


def concerns_teacher(axis: str) -> bool:
    """Whether an axis decides which teacher there is: `data`, `teacher` and what lies below them."""
    return axis.replace("/", ".").split(".")[0] in ("data", "teacher")


def train_seconds(record: Mapping[str, Any]) -> float | None:
    """Seconds spent in the stages of the student."""
    seconds = record.get("seconds") or {}
    stages = (record.get("config") or {}).get("stages") or [name for name in seconds if name not in NOT_TRAINING]
    found = [seconds[name] for name in stages if name in seconds]
    return float(sum(found)) if found else None


def _agreement(record: Mapping[str, Any], key: str) -> float | None:
    """The agreement with the teacher on the split of the score."""
    found = record.get("agreement")
    return found.get(key.split("/")[0]) if isinstance(found, Mapping) else found


def _teacher_cost(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a teacher costs; where only its parameter count was recorded, just that."""
    if record.get("teacher_cost"):
        cost: Mapping[str, Any] = record["teacher_cost"]
        return cost
    teacher = record.get("teacher") or {}
    return {"parameters": {"total": teacher.get("parameters")}, "latency_ms": teacher.get("latency") or {}}


def _cost_columns(cost: Mapping[str, Any]) -> dict[str, Value]:
    columns: dict[str, Value] = {f"parameters_{size}": _size(cost, size) for size in SIZES}
    columns |= {name: cost.get(name) for name in ("bytes", "flops")}
    return columns | {f"latency_ms_{batch}": _latency(cost, batch) for batch in BATCHES}


def _size(cost: Mapping[str, Any], size: str) -> float | None:
    return (cost.get("parameters") or {}).get(size)


def _latency(cost: Mapping[str, Any], batch: str) -> float | None:
    return (cost.get("latency_ms") or {}).get(batch)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
