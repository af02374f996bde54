"""Encoders built from a configuration, or loaded from a Hugging Face folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)

from kdbench.encoder.attention import ATTENTION
from kdbench.encoder.base import Encoder
from kdbench.encoder.classifier import Classifier
from kdbench.encoder.span_reader import SpanReader
from kdbench.encoder.word_predictor import WordPredictor
from kdbench.error import KdbenchError
from kdbench.head import ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.shape import refuse_headless

CLASSES = ClassHead(())


def from_config(config: PretrainedConfig, head: Head = CLASSES) -> Encoder:
    """An encoder of that configuration with fresh weights, drawn from torch's generator.

    Args:
        config: `head_options` are part of it: of a classifier the classes are the config's.
        head: what stands above the layers.
    """
    # transformers writes the attention choice into the config it is given: each model gets its own copy.
    return _under(head, _auto(head).from_config(copy.deepcopy(config), attn_implementation=ATTENTION))


def head_options(head: Head) -> dict[str, Any]:
    """The config entries of a head: of classes their names, or none of them for a regression's single output."""
    if not isinstance(head, ClassHead):
        return {}
    if not head.labels:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": len(head.labels),
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(head.labels)),
        "label2id": {name: position for position, name in enumerate(head.labels)},
    }


def from_folder(folder: Path, head: Head, fresh: bool = False) -> Encoder:
    """An encoder loaded from a Hugging Face folder, in float32 and evaluation mode.

    Args:
        folder: config.json and weights.
        head: what stands above the layers.
        fresh: the head may be a fresh one; otherwise the folder must bring it.

    Raises:
        KdbenchError: if the folder cannot be loaded.
    """
    from transformers.utils import logging as transformers_logging

    options = head_options(head) if fresh else {}
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # a fresh head is what was asked for: no report about it
    try:
        model, report = _auto(head).from_pretrained(
            folder,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
            ignore_mismatched_sizes=fresh,  # the head of another task gives way to a fresh one
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise KdbenchError(
            f"the model folder {folder} cannot be loaded as a {KINDS[type(head)][1]} ({reason}): restore its files, or "
            "choose another model"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if not fresh and report["missing_keys"]:
        lacks, way = ("vocabulary head", "teacher.language.train") if isinstance(head, WordHead) else (
            f"head of a {KINDS[type(head)][1]}", "teacher.train"
        )  # fmt: skip
        raise KdbenchError(
            f"the model folder {folder} brings no {lacks}: choose another model, or of a teacher set {way}=true to "
            "train one"
        )
    return _under(head, model)


KINDS: dict[type, tuple[Any, str]] = {
    ClassHead: (AutoModelForSequenceClassification, "sequence classifier"),
    ChoiceHead: (AutoModelForMultipleChoice, "model for multiple choice"),
    WordHead: (AutoModelForMaskedLM, "masked language model"),
    SpanHead: (AutoModelForQuestionAnswering, "model for question answering"),
}
"""What transformers calls a model with each head, and how we do."""


def auto_class(head: Head) -> str:
    """The name of what loads such a model in transformers."""
    return str(_auto(head).__name__)


def _auto(head: Head) -> Any:
    return KINDS[type(head)][0]


def _under(head: Head, model: Any) -> Encoder:
    if isinstance(head, WordHead):
        refuse_headless(model.config.model_type, "the model")
        return WordPredictor(model, head)
    if isinstance(head, SpanHead):
        return SpanReader(model)
    return Classifier(model, head.choices if isinstance(head, ChoiceHead) else 1)
