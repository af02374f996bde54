"""What data asks of a model: the columns, the classes and the metrics of `data` or `corpus` in the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdbench.data.check_task import check_task
from kdbench.data.prompt import Prompt
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.head import ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.tokenizer import single_tokens
from kdbench.value import choice, number, whole


@dataclass(frozen=True)
class Cloze:
    """A task as a prompt with a place for the answer: `data.cloze`."""

    prompt: Prompt
    answers: tuple[str, ...]  # the word of each class; none where a row has choices of its own
    length_penalty: float

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> Cloze:
        """Read `data.cloze`, or refuse a task that has none."""
        if data["kind"] != "classification":
            raise ImpossibleError(
                f"data.format=cloze answers with a word, and {data['name']} ({data['kind']}) has no such answers: set "
                "data.format=head"
            )
        node = data.get("cloze")
        if not node or not node.get("prompt"):
            raise KdbenchError(
                f"data.format=cloze needs a prompt, which {data['name']} does not have: set data.format=head, or give "
                "data.cloze a prompt and answers"
            )
        return cls(Prompt(str(node["prompt"])), _strings(node.get("answers")), node.get("length_penalty", 0.0))

    def check(self, labels: tuple[str, ...], chooses: bool) -> None:
        """Refuse a prompt without its place, and classes without an answer of their own."""
        self.prompt.check("data.cloze.prompt", chooses)
        number("data.cloze.length_penalty", self.length_penalty)
        if not chooses and (len(self.answers) != len(labels) or len(set(self.answers)) != len(labels)):
            raise KdbenchError(
                f"data.cloze.answers={list(self.answers)} must name a word of its own for each of the classes "
                f"{list(labels)}"
            )


@dataclass(frozen=True)
class Bins:
    """Numbers as classes, in order: equal steps from one to another."""

    lowest: float
    highest: float
    count: int

    @property
    def step(self) -> float:
        """From one to the next."""
        return (self.highest - self.lowest) / (self.count - 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The number that each class stands for."""
        return tuple(f"{self.lowest + place * self.step:g}" for place in range(self.count))

    def of(self, value: float) -> int:
        """The class that is nearest to a number; of STS-B's 21 from 1 to 5, as Galke et al. 2022 have it,
        (clip(round(5 y) / 5, 1, 5) - 1) / 0.2, which decides where two are as near."""
        inside, steps = min(max(value, self.lowest), self.highest), (self.count - 1) / (self.highest - self.lowest)
        if abs((first := self.lowest * steps) - round(first)) < 1e-9:
            return round(inside * steps) - round(first)
        return round((inside - self.lowest) * steps)

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> Bins | None:
        """Read `data.bins`; None where there are none."""
        if (node := data.get("bins")) is None:
            return None
        if not isinstance(node, Mapping) or set(node) != {"lowest", "highest", "count"}:
            raise KdbenchError(
                f"data.bins={node} must have lowest, highest and count: {{lowest: 1, highest: 5, count: 21}}"
            )
        if data["kind"] != "classification" or data["labels"] or data.get("choices"):
            raise KdbenchError("data.bins makes classes of numbers: set data.kind=classification and data.labels=[]")
        for key in ("lowest", "highest"):
            number(f"data.bins.{key}", node[key])
        whole("data.bins.count", node["count"], least=2)
        if node["lowest"] >= node["highest"]:
            raise KdbenchError(f"data.bins.lowest={node['lowest']} must be below data.bins.highest={node['highest']}")
        return cls(float(node["lowest"]), float(node["highest"]), node["count"])


@dataclass(frozen=True)
class Task:
    """A task of text classification, of regression or of answers that are a span of a text, or a corpus whose words are
    to be told, read from the config by `Task.from_config`."""

    name: str
    kind: Literal["classification", "regression", "span", "words"]
    text: tuple[str, ...]  # one column, or two for a pair; or texts with columns in braces
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
    packed: bool = False  # of a corpus: texts are joined to rows of the full length
    replace: Mapping[str, str] = field(default_factory=dict)  # of a corpus: what its texts write differently
    cloze: Cloze | None = None  # the answer is a word that a language model says; None: a score of a head
    choices: tuple[str, ...] = ()  # the columns of the answers that a row is to choose between
    choice_list: str | None = None  # or the one column that lists them
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by column: what its values are read as
    gaps: Mapping[str, str] = field(default_factory=dict)  # by column: the mark of a gap in its texts
    group: tuple[str, ...] = ()  # the columns that say which rows belong to one question
    stride: int = 0  # of spans: the tokens that a window of a long text shares with the one before
    unanswerable: bool = False  # of spans: whether a question may have no answer
    bins: Bins | None = None  # the classes are numbers

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> Task:
        """Read and check `data`; what cannot work is refused here, before any file is opened."""
        choice("data.format", data.get("format", "head"), ("head", "cloze"))
        labels = _strings(data["labels"])
        if isinstance(data.get("choices"), str):  # a column that lists them: the classes are their numbers
            whole("data.most_choices", data.get("most_choices"), least=2)
            labels = tuple(str(number) for number in range(1, data["most_choices"] + 1))
        if (bins := Bins.from_config(data)) is not None:
            labels = bins.labels
        task = cls(
            name=str(data["name"]),
            kind=data["kind"],
            text=_strings(data["text"]),
            label=data["label"],
            labels=labels,
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
            packed=data.get("packed", False),
            replace=data.get("replace") or {},
            cloze=Cloze.from_config(data) if data.get("format", "head") == "cloze" else None,
            choices=_strings(data.get("choices")) if not isinstance(data.get("choices"), str) else (),
            choice_list=data["choices"] if isinstance(data.get("choices"), str) else None,
            maps=data.get("maps") or {},
            gaps=data.get("gaps") or {},
            group=_strings(data.get("group")),
            stride=data.get("stride", 0),
            unanswerable=data.get("unanswerable", False),
            bins=bins,
        )
        check_task(task)
        return task

    @property
    def is_corpus(self) -> bool:
        """Whether its words are to be told, and nothing is labelled."""
        return self.kind == "words"

    @property
    def key(self) -> str:
        """Where it stands in the configuration."""
        return "corpus" if self.is_corpus else "data"

    @property
    def outputs(self) -> int:
        """The number of logits of a model of this task: the classes, 1 for a regression, 2 for each token of a span's
        text, none for a corpus."""
        return {"classification": len(self.labels), "regression": 1, "span": 2}.get(self.kind, 0)

    @property
    def chooses(self) -> bool:
        """Whether a row is to choose between answers of its own."""
        return bool(self.choices or self.choice_list)

    @property
    def tells_words(self) -> bool:
        """Whether a model of this task has a vocabulary head."""
        return self.is_corpus or self.cloze is not None

    def head(self, tokenizer: Any) -> Head:
        """What a model of this task has above its layers.

        Raises:
            KdbenchError: an answer that is not a single token.
        """
        if self.is_corpus:
            return WordHead()
        if self.kind == "span":
            return SpanHead()
        if self.cloze is None:
            texts = len(self.text)
            return ChoiceHead(len(self.labels), texts) if self.chooses else ClassHead(self.labels, texts)
        if self.chooses:
            return WordHead(None, len(self.labels), self.cloze.length_penalty)
        return WordHead(tuple(single_tokens(tokenizer, self.cloze.answers, "data.cloze.answers")))

    @property
    def score(self) -> str:
        """The key of the primary metric, `validation/<name>`, of which higher is better."""
        return f"validation/{self.metrics[0]}"

    def rows(self, split: str) -> int | None:
        """The cap on the rows of a split, or None."""
        return self.train_rows if split == "train" else self.evaluation_rows


def _strings(value: Any) -> tuple[str, ...]:
    """A list of strings from YAML, where `text: sentence` and `labels: [0, 1]` are what people write."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)
