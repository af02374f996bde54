"""The model card of an exported student: what it is, where it comes from, how well it does, how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdbench.data.task import Task

HEADER = """---
library_name: {library}
pipeline_tag: {pipeline}
tags:
- knowledge-distillation
- kdbench
---"""


PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForMultipleChoice": "multiple-choice",
    "AutoModelForQuestionAnswering": "question-answering",
}


def model_card(record: Mapping[str, Any], task: Task, loader: str, ours: bool = False) -> str:
    """The text of README.md, with the header that the Hugging Face hub reads; every number is the record's.

    Args:
        record: of the run.
        task: its own.
        loader: the class of transformers that loads the student, or would.
        ours: kdbench loads it instead.
    """
    parts = {
        f"# A distilled student for {task.name}": _about(record, task),
        "## Scores": _scores(record),
        "## Making": _making(record),
        "## Loading": _loading(record, task, loader, ours),
        "## Licence": _licence(record, task),
    }
    sections = ["\n".join([title, "", *lines]) for title, lines in parts.items()]
    return (
        "\n\n".join(
            [HEADER.format(library="kdbench" if ours else "transformers", pipeline=PIPELINES[loader]), *sections]
        )
        + "\n"
    )


def _about(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    parameters = record["student"]["parameters"]
    layers = f" ({parameters['encoder']:,} in its layers)" if parameters["encoder"] else ""
    kind = "A transformer encoder" if layers else "A text encoder without layers"
    yield f"{kind} with {parameters['total']:,} parameters{layers},"
    taught = record.get("teacher") is not None
    teacher = f"with the teacher `{_name(record['config']['teacher']['model'])}`" if taught else "without a teacher"
    yield f"trained with kdbench on `{task.name}`, {teacher}."
    yield ""
    texts = " and ".join(f"`{column}`" for column in task.text)
    if task.is_corpus:
        yield "It tells which word stands where one is hidden."
    elif task.cloze is not None:
        yield f"It answers by the word that it tells in `{task.cloze.prompt.text}`:"
        yield f"{', '.join(f'`{word}`' for word in task.cloze.answers) or 'a choice of its own for every row'}."
    elif task.kind == "span":
        yield f"It answers `{task.text[0]}` with a span of `{task.text[1]}`{', or not at all' * task.unanswerable}."
    elif task.kind == "regression":
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


def _loading(record: Mapping[str, Any], task: Task, loader: str, ours: bool) -> list[str]:
    imported = ["import kdbench", "from transformers import AutoTokenizer"]
    lines = [
        "```python",
        *(imported if ours else [f"from transformers import {loader}, AutoTokenizer"]),
        "",
        'folder = "."  # of this file',
        "model = kdbench.load_student(folder)" if ours else f"model = {loader}.from_pretrained(folder).eval()",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        *_calling(task, loader),
        "```",
    ]
    if record.get("vocabulary") is not None:
        lines += [
            "",
            "The tokenizer gives several words the same number: those that the model does not have share that of the",
            "word that stands for them. Saved again by transformers, it would forget which.",
        ]
    return lines


def _calling(task: Task, loader: str) -> list[str]:
    """What is done with model and tokenizer once they are loaded."""
    if loader == "AutoModelForMultipleChoice":
        choices = ", ".join(f'"<{label}>"' for label in task.labels)
        return [
            f"choices = [{choices}]",
            f'inputs = tokenizer(["<text>"] * len(choices), choices, padding=True, truncation=True, max_length='
            f'{task.max_length}, return_tensors="pt")',
            "logits = model(**{name: values[None] for name, values in inputs.items()}).logits",
        ]
    if loader == "AutoModelForMaskedLM":
        return _telling(task)
    texts = ", ".join(f'"<{column}>"' for column in task.text)
    if loader == "AutoModelForQuestionAnswering":
        return [
            f'inputs = tokenizer({texts}, truncation="only_second", max_length={task.max_length}, '
            'return_tensors="pt")  # one window of a long text',
            "scores = model(**inputs)",
            "first, last = scores.start_logits.argmax(), scores.end_logits.argmax()  # both 0: no answer in it",
            'answer = tokenizer.decode(inputs["input_ids"][0, first : last + 1])',
        ]
    return [
        f'inputs = tokenizer({texts}, truncation=True, max_length={task.max_length}, return_tensors="pt")',
        "logits = model(**inputs).logits",
    ]


def _telling(task: Task) -> list[str]:
    """Of a model that answers in words; a choice's own words take the place of as many masks."""
    prompt = "<text> {mask}" if task.cloze is None else task.cloze.prompt.text
    columns = [] if task.cloze is None else task.cloze.prompt.columns
    filled = "".join(f', {name}="<{name}>"' for name in columns)
    lines = [f"prompt = {prompt!r}"]
    if task.chooses:
        lines += [
            "",
            "def score(choice):",
            '    """The log-probabilities of the words of a choice, all of them hidden at once."""',
            '    words = tokenizer(choice, add_special_tokens=False)["input_ids"]',
            f'    text = prompt.format(choice=" ".join([tokenizer.mask_token] * len(words)){filled})',
            f'    inputs = tokenizer(text, truncation=True, max_length={task.max_length}, return_tensors="pt")',
            '    places = inputs["input_ids"] == tokenizer.mask_token_id',
            "    likely = model(**inputs).logits[places].log_softmax(dim=-1)",
            f"    return likely[range(len(words)), words].sum() / len(words) ** {_penalty(task)}",
            "",
            'scores = [score(choice) for choice in ("<choice>", "<another>")]',
        ]
        return lines
    lines += [
        f"text = prompt.format(mask=tokenizer.mask_token{filled})",
        f'inputs = tokenizer(text, truncation=True, max_length={task.max_length}, return_tensors="pt")',
        'words = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]',
    ]
    answers = () if task.cloze is None else task.cloze.answers
    return [*lines, f"logits = words[:, tokenizer.convert_tokens_to_ids({list(answers)})]"] if answers else lines


def _penalty(task: Task) -> float:
    return 0.0 if task.cloze is None else task.cloze.length_penalty


def _licence(record: Mapping[str, Any], task: Task) -> Iterator[str]:
    teacher = _name(record["config"]["teacher"]["model"])
    yield f"None is stated here. The weights derive from the teacher `{teacher}`, where they begin as its layers or"
    yield f"learn from it, and from the data `{task.name}`, whose licences bear on what may be done with them: read"
    yield "these, and state yours before you publish the model."


def _name(value: object) -> str:
    """A choice as it may be published: of a path only the last part, since the rest is nobody else's business."""
    text = str(value).strip("'\"")
    return Path(text).name if text.startswith(("/", "~", ".")) else text
