"""KroneckerBERT: an encoder whose embedding, attention and feed-forward maps are Kronecker products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdbench.architecture import name_of
from kdbench.error import ImpossibleError
from kdbench.head import ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.student import bert as dense
from kdbench.student import encoder as of_config

VERSION = 1
complete = of_config.complete
"""Of a student that is named by a model."""


def shape(options: Mapping[str, Any], classes: int, word_head: bool = False) -> Shape:
    """The shape that `kronecker` or `kronecker_encoder` would build from these options, without building it.

    Raises:
        ImpossibleError: factors that do not divide the maps.
    """
    from kdbench.kronecker.choice import FactorChoice

    choice = FactorChoice.from_config(options["factors"])
    choice.refuse_missing_pooler(options["config"]["model_type"] if "config" in options else "bert")
    if "config" in options:
        found = of_config.shape(options, classes, word_head)
        intermediate = int(options["config"][name_of("intermediate", options["config"]) or ""])
        embedding = int(options["config"].get("embedding_size") or found.width)
    else:
        found = dense.shape(options, classes, word_head)
        intermediate, embedding = options["intermediate"], found.width
    for target, matrix in {
        "attention": (found.width, found.width),
        "feed_forward": (intermediate, found.width),
        "feed_forward_out": (found.width, intermediate),
        "pooler": (found.width, found.width),
    }.items():
        choice.of(target, matrix)
    shared = choice.shared(embedding)
    return replace(found, decoder_width=found.decoder_width // shared, factored=True)


def refuse_spans(options: Mapping[str, Any]) -> None:
    """Refuse what a reader of spans does not have.

    Raises:
        ImpossibleError: a factored pooler.
    """
    from kdbench.kronecker.choice import FactorChoice

    FactorChoice.from_config(options["factors"]).refuse_pooler_of_spans()


def kronecker(
    layers: int,
    width: int,
    heads: int,
    intermediate: int,
    vocabulary: int,
    head: Head,
    factors: Mapping[str, Any],
    max_positions: int = 512,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> Model:
    """A BERT with factored maps, with fresh weights (Tahaei et al. 2022) from torch's generator.

    Biases, norms, position and type embeddings and the head stay dense.

    Args:
        layers, width, heads, intermediate: depth, D, H (dividing D), and the width of the feed-forward layer.
        vocabulary: rows of the word embedding: the tokenizer's size.
        head: what stands above the layers.
        factors: see `kdbench.kronecker.choice.FactorChoice`.
        max_positions: the longest sequence.
        dropout: of hidden states and of attention.
        padding_id: the tokenizer's padding token.
    """
    from kdbench.kronecker.choice import FactorChoice
    from kdbench.kronecker.factorise import factorise

    model: Any = dense.bert(layers, width, heads, intermediate, vocabulary, head, max_positions, dropout, padding_id)
    factorise(model.model, FactorChoice.from_config(factors))
    found: Model = model
    return found


def kronecker_encoder(
    config: Mapping[str, Any],
    vocabulary: int,
    head: Head,
    factors: Mapping[str, Any],
    max_positions: int | None = None,
    padding_id: int = 0,
) -> Model:
    """Any encoder of transformers with factored maps; see `kdbench.student.encoder.encoder` and `kronecker`."""
    from kdbench.kronecker.choice import FactorChoice
    from kdbench.kronecker.factorise import factorise

    model: Any = of_config.encoder(config, vocabulary, head, max_positions, padding_id)
    factorise(model.model, FactorChoice.from_config(factors))
    found: Model = model
    return found


def dense_twin(student: Model) -> Model:
    """A dense model of the same architecture, under the same head and with the same words, with fresh weights."""
    from kdbench.encoder.base import Encoder
    from kdbench.encoder.load import from_config
    from kdbench.encoder.word_predictor import WordPredictor
    from kdbench.student.compressed import Compressed
    from kdbench.vocabulary.tables import Vocabulary

    bare = student.bare
    if not isinstance(bare, Encoder):
        raise ImpossibleError("this student has no dense counterpart: choose initialization=random")
    choices = getattr(bare, "choices", 1)
    head: Head = ChoiceHead(choices) if choices > 1 else ClassHead(())
    if bare.shape.spans:
        head = SpanHead()
    if isinstance(bare, WordPredictor):
        head = WordHead() if bare.head is None else bare.head
    twin: Model = from_config(bare.model.config, head)
    if isinstance(student, Compressed):
        tables = (student.rows.numpy(), student.words.numpy())
        twin = Compressed(twin, Vocabulary(*tables), student.expanded)
    return twin
