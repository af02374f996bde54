"""Synthetic studies: records with known means as a store and a sweep's folder, and tidy tables of runs; no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.json_file import write_json

Record = dict[str, Any]
TEACHER_PARAMETERS = {"total": 22_000_000, "embeddings": 12_000_000, "encoder": 10_000_000}
CONTROL_LACKS = ("knowledge", "matching", "projection")
STUDENT_PARAMETERS = {"total": 11_000_000, "embeddings": 6_000_000, "encoder": 5_000_000}


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A record of `axes`, with metrics of its own and of its teacher."""

    def make(
        signature: str,
        axes: Mapping[str, str],
        metrics: Mapping[str, float],
        teacher: Mapping[str, float] | None,
        task: str = "glue/rte",
        **changes: Any,
    ) -> Record:
        record: Record = {
            "signature": signature,
            "kind": "run",
            "status": "finished",
            "axes": dict(axes),
            "config": {"optimizer": {"lr": 0.001}, "stages": {"task": {}}},
            "task": task,
            "score": next(iter(metrics)),
            "metrics": dict(metrics),
            "agreement": {name.split("/")[0]: 0.9 for name in metrics},
            "teacher": None if teacher is None else {"signature": f"teacher-{task}", "metrics": dict(teacher)},
            "teacher_cost": None
            if teacher is None
            else {"parameters": TEACHER_PARAMETERS, "latency_ms": {"batch_1": 10.0, "batch_32": 160.0}, "bytes": 88},
            "student": {
                "parameters": STUDENT_PARAMETERS,
                "flops": 1_100_000_000,
                "latency_ms": {"batch_1": 4.0, "batch_32": 80.0},
                "bytes": 44_000_000,
            },
            "stages": ["stage"],
            "seconds": {"data": 1.0, "teacher": 7.0, "task": 30.0, "evaluate": 2.0, "cost": 3.0},
            "seed": int(axes.get("seed", 1)),
            "versions": {"torch": "2.13.0"},
            "git": "abc123",
            "guards": [],
        }
        return record | changes

    return make


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """A store with the records, and a sweep's folder that lists them, followed by `more` jobs as they are given."""

    def write(
        records: Sequence[Record],
        more: Sequence[Mapping[str, Any]] = (),
        axes: Mapping[str, Mapping[str, str]] | None = None,
        name: str = "which-knowledge",
        folder: str = "sweep",
    ) -> Path:
        store = tmp_path / "store"
        for record in records:
            (store / "run" / record["signature"]).mkdir(parents=True, exist_ok=True)
            write_json(store / "run" / record["signature"] / "record.json", record)
        jobs = [
            {
                "signature": record["signature"],
                "overrides": [f"{key}={value}" for key, value in record["axes"].items()],
                "axes": (axes or {}).get(record["signature"], record["axes"]),
                "status": "finished",
                "reason": None,
            }
            for record in records
        ]
        (tmp_path / folder).mkdir(parents=True)
        write_json(tmp_path / folder / "sweep.json", {"name": name, "store": str(store), "jobs": [*jobs, *more]})
        return tmp_path / folder

    return write


@pytest.fixture
def records(make_record: Callable[..., Record]) -> list[Record]:
    """Two kinds of knowledge on two tasks (one a regression), two seeds; the logits are 10 points better."""
    made = []
    tasks = {
        "glue/rte": ({"validation/accuracy": 0.5, "test/accuracy": 0.4}, 0.8),
        "glue/stsb": ({"validation/pearson": 0.6, "validation/spearman": 0.5}, 0.9),
    }
    for task, (metrics, reference) in tasks.items():
        for gain, knowledge in ((0.0, "label"), (0.1, "logits")):
            for shift, seed in ((-0.01, 1), (0.01, 2)):
                axes = {"data": task, "knowledge": knowledge, "method": "unified", "seed": str(seed)}
                values = {name: value + gain + shift for name, value in metrics.items()}
                teacher = dict.fromkeys(metrics, reference)
                made.append(make_record(f"{len(made):016x}", axes, values, teacher, task))
    return made


@pytest.fixture
def make_runs() -> Callable[..., pd.DataFrame]:
    """The tidy table of a full grid; with `control`, the matched control of every cell stands in it too."""

    def make(
        axes: Mapping[str, Sequence[str]],
        score: Callable[[Mapping[str, Any]], float],
        tasks: Sequence[str] = ("glue/rte", "glue/sst2"),
        seeds: Sequence[int] = (1, 2, 3),
        noise: float = 0.0,
        control: bool = False,
        generator: int = 0,
    ) -> pd.DataFrame:
        draws = np.random.default_rng(generator)
        shared = {name: values for name, values in axes.items() if name not in CONTROL_LACKS}
        grids = [({"method": "unified"}, axes)]
        if control:
            grids.append(({"method": "label"} | {name: "" for name in axes if name in CONTROL_LACKS}, shared))
        rows = []
        for fixed, grid in grids:
            for task, seed, *values in product(tasks, seeds, *grid.values()):
                row: dict[str, Any] = {"task": task, "data": task, "seed": seed, **fixed}
                row |= dict(zip(grid, values, strict=True))
                row |= {"parameters_total": 1e7, "parameters_encoder": 5e6, "flops": 1e9, "latency_ms_batch_1": 4.0}
                rows.append(row | {"score": score(row) + noise * draws.normal(), "teacher_score": 0.9})
        return pd.DataFrame(rows)

    return make
