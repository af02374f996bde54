"""What a task of the config must be: refused before any file is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdbench.data.prompt import CHOICE, FIELD
from kdbench.error import KdbenchError
from kdbench.metric import (
    CLASSIFICATION,
    CORRELATIONS,
    LOWER_IS_BETTER,
    MEAN,
    OF_ANSWERS,
    OF_QUESTIONS,
    REGRESSION,
    SPAN,
    WORDS,
)
from kdbench.value import switch, whole

if TYPE_CHECKING:
    from kdbench.data.task import Task

METRICS = {"classification": CLASSIFICATION, "regression": REGRESSION, "span": SPAN, "words": WORDS}
"""What may be asked, by the kind of a task."""


def check_task(task: Task) -> None:
    """Refuse what cannot work.

    Raises:
        KdbenchError: the key, the value and the way out.
    """
    if task.cloze is not None:
        task.cloze.check(task.labels, task.chooses)
    if task.kind not in METRICS:
        raise KdbenchError(f"{task.key}.kind={task.kind} is unknown; choose {', '.join(METRICS)}")
    _check_texts(task)
    if task.kind == "span":
        _check_span(task)
    _check_labels(task)
    _check_metrics(task)
    for key in ("train_rows", "evaluation_rows"):
        whole(f"{task.key}.{key}", getattr(task, key), null="every row")
    switch(f"{task.key}.unlabelled", task.unlabelled)
    switch(f"{task.key}.packed", task.packed)
    whole(f"{task.key}.max_length", task.max_length)
    if task.max_length < 3 + len(task.text):
        raise KdbenchError(f"{task.key}.max_length={task.max_length} leaves no room for text; choose 8 or more")


def _check_texts(task: Task) -> None:
    key, texts = f"{task.key}.text", list(task.text)
    if len(texts) not in (1, 2):
        raise KdbenchError(f"{key}={texts} must name one column of text, or two for a pair")
    if task.is_corpus and (len(texts) != 1 or task.label is not None):
        raise KdbenchError(
            f"{task.name}: a corpus has one column of text and no labels: set text to one column and label to null"
        )
    for text in texts:
        if set("{}") & set(FIELD.sub("", text)):
            raise KdbenchError(f"{key}={texts}: '{text}' has a brace that encloses no column: write {{column}}")
    choices = sum(FIELD.findall(text).count(CHOICE) for text in texts)
    if task.chooses and task.cloze is None and choices != 1:
        raise KdbenchError(f"{key}={texts} must have {{choice}} once, since a row chooses between data.choices")
    if choices and not task.chooses:
        raise KdbenchError(f"{key}={texts} has a {{choice}}, but no row has any: give data.choices")


def _check_span(task: Task) -> None:
    whole("data.stride", task.stride, least=0)
    if isinstance(task.max_length, int) and task.stride >= task.max_length:
        raise KdbenchError(
            f"data.stride={task.stride} must be smaller than data.max_length={task.max_length}: windows would not move "
            "on"
        )
    switch("data.unanswerable", task.unanswerable)
    if len(task.text) != 2 or any("{" in text for text in task.text):
        raise KdbenchError(
            f"data.text={list(task.text)} must be the columns of the question and of the text that answers it, in this "
            "order"
        )
    if task.chooses or task.labels:
        raise KdbenchError(
            f"{task.name} answers with a span of its text: set data.labels=[] and data.choices=null, or choose "
            "data.kind=classification"
        )


def _check_labels(task: Task) -> None:
    if task.choices and len(task.choices) != len(task.labels):
        raise KdbenchError(
            f"{task.key}.choices={list(task.choices)} and data.labels={list(task.labels)} must be as many: a row's "
            "label says which choice is right"
        )
    if task.kind == "classification" and len(set(task.labels)) < max(2, len(task.labels)):
        raise KdbenchError(f"{task.key}.labels={list(task.labels)} must name two or more different classes")


def _check_metrics(task: Task) -> None:
    key = f"{task.key}.metrics={list(task.metrics)}"
    known = METRICS[task.kind] if task.bins is None else (*METRICS[task.kind], *CORRELATIONS)
    unknown = [name for name in task.metrics if name not in known]
    if unknown or not task.metrics:
        named = f"{unknown[0]} is no metric of a {'corpus' if task.is_corpus else task.kind}" if unknown else "is empty"
        raise KdbenchError(f"{key}: {named}; choose among {', '.join(known)}")
    if task.metrics[0] in LOWER_IS_BETTER:
        raise KdbenchError(
            f"{key}: the first is the score, of which higher is better, and of {task.metrics[0]} lower is: name "
            "another before it"
        )
    if MEAN in task.metrics and len(task.metrics) < 3:
        raise KdbenchError(f"{key}: {MEAN} is that of the others, of which it needs two: name them")
    if task.kind == "classification" and "f1" in task.metrics and len(task.labels) != 2:
        raise KdbenchError(f"{key}: f1 needs two classes and {task.name} has {len(task.labels)}: use macro_f1")
    if (
        task.kind != "span"
        and task.choice_list is None
        and (found := [name for name in task.metrics if name in OF_ANSWERS])
    ):
        raise KdbenchError(
            f"{key}: {found[0]} compares words of answers that a column lists: give data.choices that column, or use "
            "accuracy"
        )
    if not task.group and (found := [name for name in task.metrics if name in OF_QUESTIONS]):
        raise KdbenchError(
            f"{key}: {found[0]} needs to know which rows are of one question: give data.group their columns, or use "
            "accuracy"
        )
