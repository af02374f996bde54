"""What a data set asks of a model: the columns, the classes and the metrics of `data` in the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kdbench.error import KdbenchError
from kdbench.metric import CLASSIFICATION, REGRESSION
from kdbench.value import switch, whole


@dataclass(frozen=True)
class Task:
    """A task of text classification or regression, read from the config by `Task.from_config`."""

    name: str
    kind: Literal["classification", "regression"]
    text: tuple[str, ...]  # one column, or two for a pair
    label: str | None  # null: nothing is labelled, which serves distillation
    labels: tuple[str, ...]  # the names of the classes; their order gives the ids
    metrics: tuple[str, ...]  # the first is the score
    splits: Mapping[str, str]  # our name of a split -> the source's
    optional: tuple[str, ...]  # splits that the source may lack
    hidden_label: float | None  # this value says "no label"; class ids below 0 always do
    range: tuple[float, float] | None  # of a regression's labels
    train_rows: int | None
    evaluation_rows: int | None
    seed: int
    max_length: int
    unlabelled: bool

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> Task:
        """Read and check `data`; what cannot work is refused here, before any file is opened."""
        task = cls(
            name=str(data["name"]),
            kind=data["kind"],
            text=_strings(data["text"]),
            label=data["label"],
            labels=_strings(data["labels"]),
            metrics=_strings(data["metrics"]),
            splits={ours: str(theirs) for ours, theirs in data["splits"].items() if theirs is not None},
            optional=_strings(data["optional"]),
            hidden_label=data["hidden_label"],
            range=None if data["range"] is None else (float(data["range"][0]), float(data["range"][1])),
            train_rows=data["train_rows"],
            evaluation_rows=data["evaluation_rows"],
            seed=data["seed"],
            max_length=data["max_length"],
            unlabelled=data["unlabelled"],
        )
        task._check()
        return task

    @property
    def outputs(self) -> int:
        """The number of logits of a model of this task: the classes, or 1 for a regression."""
        return len(self.labels) if self.kind == "classification" else 1

    @property
    def score(self) -> str:
        """The key of the primary metric, `validation/<name>`; higher is better for every metric of ours."""
        return f"validation/{self.metrics[0]}"

    def rows(self, split: str) -> int | None:
        """The cap on the rows of a split, or None."""
        return self.train_rows if split == "train" else self.evaluation_rows

    def _check(self) -> None:
        if self.kind not in ("classification", "regression"):
            raise KdbenchError(f"data.kind={self.kind} is unknown; choose classification or regression")
        if len(self.text) not in (1, 2):
            raise KdbenchError(f"data.text={list(self.text)} must name one column of text, or two for a pair")
        if self.kind == "classification" and len(set(self.labels)) < max(2, len(self.labels)):
            raise KdbenchError(f"data.labels={list(self.labels)} must name two or more different classes")
        known = CLASSIFICATION if self.kind == "classification" else REGRESSION
        unknown = [name for name in self.metrics if name not in known]
        if unknown or not self.metrics:
            named = f"{unknown[0]} is no metric of a {self.kind}" if unknown else "is empty"
            raise KdbenchError(f"data.metrics={list(self.metrics)}: {named}; choose among {', '.join(known)}")
        if self.kind == "classification" and "f1" in self.metrics and len(self.labels) != 2:
            raise KdbenchError(
                f"data.metrics: f1 needs two classes and {self.name} has {len(self.labels)}: use macro_f1"
            )
        for key in ("train_rows", "evaluation_rows"):
            whole(f"data.{key}", getattr(self, key), null="every row")
        whole("data.max_length", self.max_length)
        switch("data.unlabelled", self.unlabelled)
        if self.max_length < 3 + len(self.text):
            raise KdbenchError(f"data.max_length={self.max_length} leaves no room for text; choose 8 or more")


def _strings(value: Any) -> tuple[str, ...]:
    """A list of strings from YAML, where `text: sentence` and `labels: [0, 1]` are what people write."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)
