"""What the folder of a teacher says of it before it is loaded: without importing torch or transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdbench.architecture import positions_of, shape_of_config
from kdbench.data.task import Task
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.pretrained import read_config
from kdbench.shape import Shape, of_spans


def shape_in(folder: Path, task: Task) -> tuple[Shape, int | None]:
    """The teacher's shape, and the longest sequence it takes; None where that is not said."""
    config = read_config(folder)
    try:
        shape = shape_of_config(config, task.outputs, task.tells_words, f"teacher.model={folder}")
    except KeyError as error:
        raise KdbenchError(
            f"teacher.model: {folder / 'config.json'} (of type {config.get('model_type')}) does not say how many "
            "layers, which width and how many heads the model has: give an encoder such as BERT"
        ) from error
    return of_spans(shape) if task.kind == "span" else shape, positions_of(config)


def refuse_other_task(folder: Path, task: Task) -> None:
    """Refuse a ready teacher whose head is of another task."""
    config = read_config(folder)
    named = config.get("kdbench_task")
    names = config.get("id2label")
    labels = [str(names[key]) for key in sorted(names, key=int)] if isinstance(names, Mapping) else []
    count = config.get("num_labels", len(labels) or 2)
    generic = all(label.startswith("LABEL_") for label in labels)
    wrong_names = task.outputs > 1 and labels and not generic and labels != list(task.labels)
    by_score = task.cloze is None and not task.chooses  # otherwise the configuration says nothing of classes
    if (named is not None and named != task.name) or (by_score and (count != task.outputs or wrong_names)):
        learned = named or f"{labels or count} (its classes)"
        raise ImpossibleError(
            f"teacher.model={folder} was fine-tuned on {learned}, not on {task.name} with the classes "
            f"{list(task.labels) or 'of a regression'}: give a teacher of this task, or "
            "teacher.train=true to fine-tune it"
        )
