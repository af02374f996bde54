"""The architecture of any encoder of transformers, by its configuration: sizes of its own, none of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.architecture import SIZES, name_of, positions_of, shape_of_config
from kdbench.error import KdbenchError
from kdbench.head import Head
from kdbench.model import Model
from kdbench.pretrained import locate, read_config
from kdbench.shape import Shape
from kdbench.value import divides, share, whole

VERSION = 1

DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "qa_dropout"),
)
OF_A_MODEL = {
    *("_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "kdbench_task"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "vocab_size", "pad_token_id"),
}
"""What a configuration says of one model and not of its architecture, or what the run says better."""


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the model's configuration in the place of its name: what is built no longer depends on it.

    Raises:
        KdbenchError: a model that is not there, or that is no encoder.
    """
    if options.get("config") is not None or "model" not in options:
        return dict(options)
    if options["model"] is None:
        raise KdbenchError("student.model has no value: name a Hugging Face encoder, or leave it the teacher's")
    folder = locate(options["source"], options["model"], options["revision"], "student.model")
    config: dict[str, Any] = {name: value for name, value in read_config(folder).items() if name not in OF_A_MODEL}
    for size in SIZES:
        if (name := name_of(size, config)) is None:
            raise KdbenchError(
                f"student.model={options['model']} (of type {config.get('model_type')}) does not say its {size}: give "
                "an encoder such as BERT"
            )
        if options[size] is not None:
            whole(f"student.{size}", options[size])
            config[name] = options[size]
    if options["dropout"] is not None:
        share("student.dropout", options["dropout"], below=True)
        config |= {name: options["dropout"] for name in DROPOUTS if name in config}
    left = {name: value for name, value in options.items() if name not in (*OF_THE_NAME, *SIZES, "dropout")}
    return {**left, "config": config, "max_positions": positions_of(config)}


OF_THE_NAME = ("source", "model", "revision")


def shape(options: Mapping[str, Any], classes: int, word_head: bool = False) -> Shape:
    """The shape that `encoder` would build from these completed options, without building it."""
    found = shape_of_config(options["config"], classes, word_head, "student.model")
    divides("student.heads", found.heads, "student.width", found.width)
    return found


def encoder(
    config: Mapping[str, Any], vocabulary: int, head: Head, max_positions: int | None = None, padding_id: int = 0
) -> Model:
    """An encoder under a head, with fresh weights from torch's generator.

    Args:
        config: of transformers, with `model_type`.
        vocabulary: rows of the word embedding: the tokenizer's size.
        head: what stands above the layers.
        max_positions: is said by the configuration.
        padding_id: the tokenizer's padding token.

    Raises:
        KdbenchError: a type of model that transformers does not know.
    """
    from transformers import AutoConfig

    from kdbench.encoder.load import from_config, head_options

    del max_positions
    of_type = {name: value for name, value in config.items() if name != "model_type"}
    try:
        made = AutoConfig.for_model(
            config["model_type"], **of_type, vocab_size=vocabulary, pad_token_id=padding_id, **head_options(head)
        )
    except (KeyError, ValueError) as error:
        raise KdbenchError(
            f"student.model is of type {config.get('model_type')}, which transformers does not know: give an encoder "
            "such as BERT"
        ) from error
    return from_config(made, head)
