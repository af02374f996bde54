"""Out of distribution: a student, and its teacher, on other data sets that its own answers can be read as."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.config import plain
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.data.tokenised import data_signature, tokenised
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.module.predictions import scores
from kdbench.store import Store

if TYPE_CHECKING:
    from kdbench.model import Model


@dataclass(frozen=True)
class OodSet:
    """A data set that is evaluated and never learned from: a node of `ood`.

    Attributes:
        name: its key.
        data: its `data` node, with that split alone; rows are no longer than the student's own, and as many as are
            evaluated of these where the node does not say another cap.
        split: our name of the split.
        task: what the node says.
        classes: for each of the student's classes, in their order, the place of the class it is read as; none of spans.
    """

    name: str
    data: Mapping[str, Any]
    split: str
    task: Task
    classes: tuple[int, ...]

    @classmethod
    def from_config(cls, name: str, node: Any, own: Task, own_source: str = "folder") -> OodSet:
        """Read and check a node; `own` and `own_source` are the run's task and where its rows come from.

        Raises:
            ImpossibleError: a run without classes of its own, or one that answers in words.
            KdbenchError: a split that is not there, or classes that cannot be read as these.
        """
        key = f"ood.{name}"
        _answers_elsewhere(key, own)
        if not isinstance(node, Mapping) or not isinstance(node.get("data"), Mapping) or "split" not in node:
            raise KdbenchError(
                f"{key}={node} is no set to evaluate: give it data and split, and classes, as the options of ood do; "
                "null leaves it out"
            )
        source = node["data"].get("source") or (own_source if own_source in ("folder", "hub") else "folder")
        task = Task.from_config({**node["data"], "source": source})
        meant = {str(ours): str(theirs) for ours, theirs in (node.get("classes") or {}).items()}
        _is_read_as(key, task, str(node["split"]), meant, own)
        data = {
            **node["data"],
            "source": source,
            "splits": {node["split"]: task.splits[node["split"]]},
            "optional": [],
            "max_length": min(task.max_length, own.max_length),  # it has not learned to read longer ones
            "stride": min(task.stride, own.stride),
            "evaluation_rows": own.evaluation_rows if task.evaluation_rows is None else task.evaluation_rows,
        }
        classes = tuple(task.labels.index(meant[label]) for label in own.labels)
        return cls(name, data, str(node["split"]), task, classes)

    def read_as(self, logits: np.ndarray) -> np.ndarray:
        """A student's logits as scores of this set's classes, (N, C) -> (N, C'): of several classes that are read as
        one the highest, so that the likeliest class stays the likeliest. Spans stay as they are."""
        if not self.classes:
            return logits
        found = np.full((len(logits), len(self.task.labels)), -np.inf, dtype=np.float32)
        for ours, theirs in enumerate(self.classes):
            found[:, theirs] = np.maximum(found[:, theirs], logits[:, ours])
        return np.where(np.isfinite(found), found, logits.min(axis=1, keepdims=True) - 1.0)


def _answers_elsewhere(key: str, own: Task) -> None:
    """Refuse a run whose student has no answers that another set could be scored by."""
    if own.kind not in ("classification", "span") or own.cloze is not None or own.chooses:
        raise ImpossibleError(
            f"{key} needs a student that scores classes of its own or reads spans, which that of {own.name} in "
            "this form does not: choose ood=none"
        )


def _is_read_as(key: str, task: Task, split: str, meant: Mapping[str, str], own: Task) -> None:
    """Refuse a set of another kind, a split that it lacks, and classes that are not told one by one."""
    if task.kind != own.kind:
        raise ImpossibleError(
            f"{key}.data is of kind {task.kind}, but {own.name} of kind {own.kind}: choose ood=none, or the sets "
            "of its task"
        )
    if split not in task.splits:
        raise KdbenchError(f"{key}.split={split} is no split of {task.name}: choose among {', '.join(task.splits)}")
    if set(meant) != set(own.labels) or not set(meant.values()) <= set(task.labels):
        raise KdbenchError(
            f"{key}.classes={meant} must give each of the classes {list(own.labels)} of {own.name} one of "
            f"{list(task.labels)}"
        )


def _has_as_many_texts(each: OodSet, own: Task, student: Mapping[str, Any]) -> None:
    """Refuse single texts of a student that reads two texts apart, and pairs of one that never did."""
    if len(each.task.text) != len(own.text) and student.get("pair", "joint") != "joint":
        raise ImpossibleError(
            f"ood.{each.name}.data={each.task.name} has {len(each.task.text)} texts a row, and a student with "
            f"student.pair={student['pair']} reads the {len(own.text)} of {own.name}: choose ood=none, sets with as "
            "many, or student.pair=joint"
        )


def ood_sets(nodes: Mapping[str, Any], own: Task, source: str, student: Mapping[str, Any]) -> list[OodSet]:
    """Those of a configuration's node `ood`, without what is null.

    Args:
        nodes: the node.
        own: the run's task.
        source: of the run's own data, from which also those come that do not say another.
        student: the run's node of that name.

    Raises:
        ImpossibleError, KdbenchError: as `OodSet.from_config`, or rows that the student cannot read.
    """
    found = {str(name): plain(node) for name, node in nodes.items() if node is not None}
    sets = [OodSet.from_config(name, node, own, source) for name, node in found.items()]
    for each in sets:
        _has_as_many_texts(each, own, student)
    return sets


def rows_of_set(each: OodSet, store: Store, root: Path, tokenizer: Path) -> Split:
    """The tokenised rows of a set, from the store or made now.

    Raises:
        KdbenchError: as `tokenised`, or rows without a label.
    """
    with _told_by_its_key(each):
        rows = tokenised(store, each.data, root, tokenizer)[each.split]
    if not rows.labelled.any():
        raise KdbenchError(
            f"ood.{each.name}.split={each.split}: no row of {each.task.name} has a label there: choose another split"
        )
    return rows


def ood_content(sets: list[OodSet], root: Path, tokenizer: Path, store: Store) -> dict[str, Any]:
    """What they add to the content of a run, by name: the signature of their data, and how classes are read."""
    return {
        each.name: {
            "data": _signature_of_set(each, root, tokenizer, store),
            "classes": each.classes,
            "metrics": each.task.metrics,
        }
        for each in sets
    }


@contextmanager
def _told_by_its_key(each: OodSet) -> Iterator[None]:
    """Say a mistake in a set's data by the keys that it has in the configuration."""
    try:
        yield
    except KdbenchError as error:
        raise KdbenchError(re.sub(r"(?<![\w.])data\.", f"ood.{each.name}.data.", str(error))) from error


def _signature_of_set(each: OodSet, root: Path, tokenizer: Path, store: Store) -> str:
    with _told_by_its_key(each):
        return data_signature(each.data, root, tokenizer, store.fingerprints)


Scores = Mapping[str, float]
_known: dict[tuple[Any, ...], Scores] = {}
"""Those of finished models on the same rows in the same reading, for the next job of a sweep in this process, which
mostly asks for the same teacher's."""


def evaluate_elsewhere(
    sets: list[OodSet],
    models: Mapping[str, Model],
    say: Callable[[Model, Split], np.ndarray],
    read: Callable[[OodSet], Split],
    finished: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Scores on every set, by its name.

    Args:
        sets: to be evaluated.
        models: by the key that their metrics get: `metrics` for a student, `teacher_metrics` for its teacher.
        say: gives what a model says of a split.
        read: gives the rows of a set.
        finished: signatures of those models that are evaluated once in a process, by the same key.
    """

    def score(role: str, each: OodSet, rows: Split) -> Scores:
        if (name := (finished or {}).get(role)) is None:
            return scores(each.task, rows, each.read_as(say(models[role], rows)))
        digest = hashlib.sha1(rows.tokens.tobytes() + rows.labels.tobytes(), usedforsecurity=False).hexdigest()
        key = name, digest, each.classes, each.task.metrics
        if key not in _known:
            _known[key] = scores(each.task, rows, each.read_as(say(models[role], rows)))
        return _known[key]

    found: dict[str, Any] = {}
    for each in sets:
        rows = read(each)
        scored = {role: dict(score(role, each, rows)) for role in models}
        count = len(rows) if rows.questions is None else len(rows.questions.texts)
        found[each.name] = {"data": each.task.name, "split": each.split, "rows": count, **scored}
    return found
