"""The files that GLUE's leaderboard takes: one per task, a header and one line a row, separated by tabs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.error import KdbenchError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """How one task is handed in: the file's name, and the class names where names are printed instead of ids."""

    file: str
    names: frozenset[str] | None = None
    range: tuple[float, float] | None = None  # of a regression


TWO_WAY = frozenset({"entailment", "not_entailment"})
THREE_WAY = TWO_WAY - {"not_entailment"} | {"neutral", "contradiction"}

FORMATS = {
    "glue/cola": Format("CoLA.tsv"),
    "glue/sst2": Format("SST-2.tsv"),
    "glue/mrpc": Format("MRPC.tsv"),
    "glue/stsb": Format("STS-B.tsv", range=(0.0, 5.0)),
    "glue/qqp": Format("QQP.tsv"),
    "glue/mnli": Format("MNLI-m.tsv", names=THREE_WAY),
    "glue/qnli": Format("QNLI.tsv", names=TWO_WAY),
    "glue/rte": Format("RTE.tsv", names=TWO_WAY),
    "glue/wnli": Format("WNLI.tsv"),
}


def write_submission(
    folder: Path, task: str, split: str, index: np.ndarray, predictions: np.ndarray, labels: Sequence[str]
) -> Path:
    """Write the file of a task and return its path.

    Args:
        folder: where to; the rest must pass `check_submission`.
        task: the data set's name, `glue/rte`.
        split: its split; of MNLI, one that ends in `mismatched` makes MNLI-mm.tsv.
        index: (N,) each row's place in its source; every row from 0 on must be there.
        predictions: (N,) class ids, or the values of a regression, which are cut to its range and to 3 digits.
        labels: the class names in the order of their ids.
    """
    chosen = check_submission(task, split, index, labels)
    if not split.startswith("test"):
        log.warning("GLUE's leaderboard takes predictions on the test rows, and these are of the split %s", split)
    lines = ["index\tprediction"]
    lines += [
        f"{row}\t{_printed(chosen, value, labels)}" for row, value in sorted(zip(index, predictions, strict=True))
    ]
    path = folder / chosen.file
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def check_submission(task: str, split: str, index: np.ndarray, labels: Sequence[str]) -> Format:
    """The format of a task's file, before anything is predicted.

    Raises:
        KdbenchError: a task that GLUE has not, other classes, or missing rows.
    """
    chosen = _format(task, split, labels)
    if sorted(index) != list(range(len(index))):
        raise KdbenchError(
            f"submission=true needs a prediction for every row of {task}, and {split} has been cut to {len(index)}: "
            "set data.evaluation_rows=null"
        )
    return chosen


def _format(task: str, split: str, labels: Sequence[str]) -> Format:
    if task not in FORMATS:
        raise KdbenchError(
            f"submission=true makes files for GLUE's leaderboard, and {task} is none of its tasks "
            f"({', '.join(FORMATS)}): set submission=false"
        )
    chosen = FORMATS[task]
    if chosen.names is not None and set(labels) != chosen.names:
        raise KdbenchError(
            f"data.labels={list(labels)} are not the names that GLUE's leaderboard knows for {task} "
            f"({', '.join(sorted(chosen.names))}): name the classes so"
        )
    if task == "glue/mnli" and split.endswith("mismatched"):
        return Format("MNLI-mm.tsv", chosen.names)
    return chosen


def _printed(chosen: Format, prediction: float, labels: Sequence[str]) -> str:
    if chosen.range is not None:
        return f"{min(max(float(prediction), chosen.range[0]), chosen.range[1]):.3f}"
    return labels[int(prediction)] if chosen.names is not None else str(int(prediction))
