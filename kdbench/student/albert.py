"""ALBERT: a narrow word embedding that is widened, and layers that may share their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.head import Head
from kdbench.model import Model
from kdbench.shape import Shape, has_layers_apart, taps_of
from kdbench.value import divides

VERSION = 1


def shape(options: Mapping[str, Any], classes: int, word_head: bool = False) -> Shape:
    """The shape that `albert` would build from these options, without building it."""
    layers, width = options["layers"], options["width"]
    divides("student.heads", options["heads"], "student.width", width)
    divides("student.groups", options["groups"], "student.layers", layers)
    taps = taps_of("albert", word_head, classes)
    given = options["embedding_width"] if word_head else 0
    return Shape(layers, width, options["heads"], classes, taps, given, has_layers_apart("albert"))


def albert(
    layers: int,
    width: int,
    heads: int,
    intermediate: int,
    vocabulary: int,
    head: Head,
    embedding_width: int = 128,
    groups: int = 1,
    max_positions: int = 512,
    dropout: float = 0.0,
    padding_id: int = 0,
) -> Model:
    """An ALBERT under a task head or a vocabulary head, with fresh weights (Lan et al. 2020) from torch's generator.

    With as many groups as layers nothing is shared: that is the factorised embedding of GLMD+al (Tan et al. 2023),
    whose position embeddings alone are as wide as the layers there and as narrow as the words here.

    Args:
        layers, width, heads, intermediate: depth, D, H (dividing D), and the width of the feed-forward layer.
        vocabulary: rows of the word embedding: the tokenizer's size.
        head: what stands above the layers.
        embedding_width: of a word, before a linear map widens it to D.
        groups: sets of weights that the layers share out, each for as many that follow each other.
        max_positions: the longest sequence.
        dropout: of hidden states and of attention.
        padding_id: the tokenizer's padding token.
    """
    from transformers import AlbertConfig

    from kdbench.encoder.load import from_config, head_options

    config = AlbertConfig(
        vocab_size=vocabulary,
        embedding_size=embedding_width,
        hidden_size=width,
        num_hidden_layers=layers,
        num_hidden_groups=groups,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=max_positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        classifier_dropout_prob=dropout,
        pad_token_id=padding_id,
        **head_options(head),
    )
    return from_config(config, head)
