"""A student of an architecture of our own as a folder: what it is built from, its weights, and nothing that runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.config import instantiate
from kdbench.error import KdbenchError
from kdbench.head import ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.store import read_json, write_json

if TYPE_CHECKING:
    from kdbench.as_transformers import AsTransformers
    from kdbench.model import Model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_TYPE = "kdbench"
HEADS: dict[str, type[Head]] = {each.__name__: each for each in (ClassHead, ChoiceHead, WordHead, SpanHead)}


def save_student(
    student: Model, options: Mapping[str, Any], head: Head, words: int, padding_id: int, folder: Path
) -> None:
    """Write config.json and model.safetensors.

    Args:
        student: without what is put around it.
        options: the node `student` of its run.
        head: what stands above its layers.
        words: rows of its word embedding.
        padding_id: the row of the padding token.
        folder: is there.
    """
    student.save(folder)
    described = {"kind": type(head).__name__, **asdict(head)}
    content = {"model_type": MODEL_TYPE, "student": dict(options), "head": described, "vocab_size": words}
    write_json(folder / CONFIG, {**content, "pad_token_id": padding_id})


def is_student_folder(folder: Path) -> bool:
    """Whether `save_student` wrote it."""
    path = folder / CONFIG
    if not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content, dict) and content.get("model_type") == MODEL_TYPE


def load_student(folder: Path | str) -> AsTransformers:
    """The student of a folder that `kdbench-export` wrote, on the CPU and in evaluation mode, to be called with what
    its tokenizer gives: `load_student(folder)(**tokenizer("A text", return_tensors="pt")).logits`.

    Raises:
        KdbenchError: another kind of folder, one that is not whole, or one that names anything but parts of kdbench.
    """
    from kdbench.as_transformers import AsTransformers

    return AsTransformers(load_model(Path(folder))).eval()


def load_model(folder: Path) -> Model:
    """As `load_student`, the model itself."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_student_folder(folder):
        raise KdbenchError(
            f"{folder} is no folder of a kdbench student: give one that kdbench-export wrote, or load it with "
            "transformers"
        )
    content = read_json(folder / CONFIG)
    try:  # it may come from anywhere, and what it names is called
        _refuse_foreign(content["student"], folder)
        kind = dict(content["head"])
        head = HEADS[kind.pop("kind")](**{key: _frozen(value) for key, value in kind.items()})
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced at once
            sizes = {"vocabulary": content["vocab_size"], "padding_id": content["pad_token_id"]}
            model: Model = instantiate(content["student"], head=head, **sizes)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (AttributeError, KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise KdbenchError(f"the folder {folder} of a student is damaged ({reason}): export it again") from error
    return model.eval()


def _refuse_foreign(node: Any, folder: Path) -> None:
    """Refuse a student, or its classifier, that is built by anything but what a module of kdbench defines for it."""
    for part, room in ((node, "kdbench.student."), (node.get("classifier", {}), "kdbench.cmow.classifier.")):
        target = part.get("_target_")
        if target is not None and not _defined(str(target), room):
            raise KdbenchError(f"{folder / CONFIG} names {target}, which is no part of a student: it is not loaded")
    inside = [
        value for part in (node, node.get("classifier", {})) for key, value in part.items() if key != "classifier"
    ]
    if "_target_" in str([value for value in inside if isinstance(value, Mapping | list)]):
        raise KdbenchError(f"{folder / CONFIG} names more to be built than a student: it is not loaded")


def _defined(target: str, room: str) -> bool:
    module, _, name = target.rpartition(".")
    if not module.startswith(room) or "." in module.removeprefix(room):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return callable(found) and getattr(found, "__module__", None) == module


def _frozen(value: Any) -> Any:
    """Of JSON, lists as the tuples that they were."""
    return tuple(value) if isinstance(value, list) else value
