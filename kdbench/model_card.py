"""The model card of an exported student: what it is, where it comes from, how well it does, how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdbench.data.task import Task

HEADER = """---
library_name: transformers
pipeline_tag: text-classification
tags:
- knowledge-distillation
- kdbench
---"""


def model_card(record: Mapping[str, Any], task: Task) -> str:
    """The text of README.md, with the header that the Hugging Face hub reads; every number is the record's."""
    parts = {
        f"# A distilled student for {task.name}": _about(record, task),
        "## Scores": _scores(record),
        "## Making": _making(record),
        "## Loading": _loading(task),
        "## Licence": _licence(record, task),
    }
    sections = ["\n".join([title, "", *lines]) for title, lines in parts.items()]
    return "\n\n".join([HEADER, *sections]) + "\n"


def _about(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    parameters = record["student"]["parameters"]
    yield f"A transformer encoder with {parameters['total']:,} parameters ({parameters['encoder']:,} in its layers),"
    yield f"trained with kdbench on `{task.name}`, with the teacher `{_name(record['config']['teacher']['model'])}`."
    yield ""
    texts = " and ".join(f"`{column}`" for column in task.text)
    if task.kind == "regression":
        yield f"It reads {texts} and gives one number."
    else:
        yield f"It reads {texts} and chooses among {', '.join(f'`{label}`' for label in task.labels)}."


def _scores(record: Mapping[str, Any]) -> Iterator[str]:
    teacher = (record.get("teacher") or {}).get("metrics") or {}
    yield "| metric | student | teacher |"
    yield "|---|---|---|"
    for name, value in record["metrics"].items():
        yield f"| {name} | {value:.4f} | {f'{teacher[name]:.4f}' if name in teacher else ''} |"
    yield ""
    yield f"One run, seed {record['seed']}; a single seed says little about a difference of a point."
    if record["config"]["data"].get("train_rows") or record["config"]["data"].get("evaluation_rows"):
        yield "The data were cut to a part of their rows, so these scores cannot be compared with published ones."


def _making(record: Mapping[str, Any]) -> Iterator[str]:
    axes = ", ".join(f"{name} = {_name(value)}" for name, value in record["axes"].items())
    yield f"- choices: {axes}"
    for name, stage in record["config"]["stages"].items():
        terms = "; ".join(_term(key, term) for key, term in stage["terms"].items())
        yield f"- stage {name}: {terms}"
    yield f"- run {record['signature']}, " + ", ".join(f"{name} {v}" for name, v in sorted(record["versions"].items()))


def _term(name: str, term: Mapping[str, Any]) -> str:
    parts = [_short(term[slot]) for slot in ("knowledge", "matching", "projection", "objective") if term.get(slot)]
    return f"{name} ({', '.join(parts)}), weight {term['weight']:g}"


def _short(node: Mapping[str, Any]) -> str:
    """`kl(temperature=4.0)`: what is built, and its settings."""
    settings = ", ".join(f"{key}={value}" for key, value in node.items() if not key.startswith("_"))
    name = str(node["_target_"]).rpartition(".")[2]
    return f"{name}({settings})" if settings else name


def _loading(task: Task) -> list[str]:
    texts = ", ".join(f'"<{column}>"' for column in task.text)
    return [
        "```python",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'folder = "."  # of this file',
        "model = AutoModelForSequenceClassification.from_pretrained(folder).eval()",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f'inputs = tokenizer({texts}, truncation=True, max_length={task.max_length}, return_tensors="pt")',
        "logits = model(**inputs).logits",
        "```",
    ]


def _licence(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    teacher = _name(record["config"]["teacher"]["model"])
    yield f"None is stated here. The weights derive from the teacher `{teacher}` and"
    yield f"from the data `{task.name}`, whose licences both bear on what may be done with them: read these, and state"
    yield "yours before you publish the model."


def _name(value: object) -> str:
    """A choice as it may be published: of a path only the last part, since the rest is nobody else's business."""
    text = str(value).strip("'\"")
    return Path(text).name if text.startswith(("/", "~", ".")) else text
