"""BERT of any width and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.error import ImpossibleError
from kdbench.model import Model
from kdbench.shape import Shape

VERSION = 1


def shape(options: Mapping[str, Any], classes: int) -> Shape:
    """The shape that `bert` would build from these options, without building it."""
    if options["width"] % options["heads"]:
        raise ImpossibleError(
            f"student.heads={options['heads']} does not divide student.width={options['width']}: choose a divisor"
        )
    return Shape(options["layers"], options["width"], options["heads"], classes)


def bert(
    layers: int,
    width: int,
    heads: int,
    intermediate: int,
    vocabulary: int,
    labels: tuple[str, ...],
    max_positions: int = 512,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> Model:
    """A BERT sequence classifier with fresh weights (Devlin et al. 2019), drawn from torch's generator.

    Args:
        layers, width, heads, intermediate: depth, D, H (dividing D), and the width of the feed-forward layer.
        vocabulary: rows of the word embedding: the tokenizer's size.
        labels: class names; none for a regression, whose head has one output.
        max_positions: the longest sequence.
        dropout: of hidden states and of attention.
        padding_id: the tokenizer's padding token.
    """
    from transformers import BertConfig

    from kdbench import encoder

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=max_positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=padding_id,
        **encoder.head_options(labels),
    )
    return encoder.from_config(config)
