"""A matrix embedding under the head that its data asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from kdbench.cmow.classifier.base import FeatureClassifier
from kdbench.cmow.encoder import MatrixEncoder, Tables
from kdbench.cmow.layout import Layout
from kdbench.cmow.model import MatrixClassifier, MatrixModel, MatrixSpanReader, MatrixWordPredictor
from kdbench.cmow.pair import paired_width
from kdbench.head import ClassHead, Head, SpanHead, WordHead


def build(
    layout: Layout, tables: Tables, head: Head, classifier: Callable[..., Any], pair: str, dropout: float
) -> MatrixModel:
    """The model with fresh weights; linear maps are drawn from N(0, std^2), their biases 0, whatever head it is.

    In the release of Galke et al. 2022 that holds of `linear`, `mlp_same_width` and the vocabulary head; its other
    heads are put in place later and begin as torch draws them.

    Args:
        layout, tables: of the encoder.
        head: what the data asks for.
        classifier: built with the widths of what it reads, where the head has classes or choices.
        pair: how two texts become one, or `joint`.
        dropout: of what the head is given.
    """
    encoder, shape = MatrixEncoder(layout, tables), layout.shape
    model: MatrixModel
    if isinstance(head, WordHead):
        model = MatrixWordPredictor(encoder, shape(head.classes, words=True), dropout, tables.words, head)
    elif isinstance(head, SpanHead):
        model = MatrixSpanReader(encoder, shape(2, spans=True), dropout)
    else:
        outputs, choices = (max(1, len(head.labels)), 1) if isinstance(head, ClassHead) else (1, head.choices)
        width = layout.state if _class(classifier).of_tokens else layout.pooled
        made = classifier(width=width, paired=partial(paired_width, pair), block=layout.block, outputs=outputs)
        model = MatrixClassifier(encoder, shape(max(outputs, choices)), dropout, made, pair, choices)
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and model.of_head(name):
            nn.init.normal_(part.weight, std=tables.std)
            nn.init.zeros_(part.bias)
    return model


def _class(classifier: Any) -> type[FeatureClassifier]:
    """What a partial of Hydra's will build."""
    found: type[FeatureClassifier] = getattr(classifier, "func", classifier)
    return found
