"""BERT of any width and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.head import Head
from kdbench.model import Model
from kdbench.shape import Shape, taps_of
from kdbench.value import divides

VERSION = 1


def shape(options: Mapping[str, Any], classes: int, word_head: bool = False) -> Shape:
    """The shape that `bert` would build from these options, without building it."""
    divides("student.heads", options["heads"], "student.width", options["width"])
    width = options["width"]
    taps = taps_of("bert", word_head, classes)
    return Shape(options["layers"], width, options["heads"], classes, taps, width if word_head else 0)


def bert(
    layers: int,
    width: int,
    heads: int,
    intermediate: int,
    vocabulary: int,
    head: Head,
    max_positions: int = 512,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> Model:
    """A BERT under a task head or a vocabulary head, with fresh weights (Devlin et al. 2019) from torch's generator.

    Args:
        layers, width, heads, intermediate: depth, D, H (dividing D), and the width of the feed-forward layer.
        vocabulary: rows of the word embedding: the tokenizer's size.
        head: what stands above the layers.
        max_positions: the longest sequence.
        dropout: of hidden states and of attention.
        padding_id: the tokenizer's padding token.
    """
    from transformers import BertConfig

    from kdbench.encoder.load import from_config, head_options

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
        **head_options(head),
    )
    return from_config(config, head)
