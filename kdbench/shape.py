"""What the checks know of a model before it is built: its sizes, and what can be read from it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from kdbench.error import KdbenchError
from kdbench.outputs import Taps

CLASSIFIER_TAPS = frozenset(each.name for each in fields(Taps)) - {"decoder_inputs"}

WORD_HEADED = ("albert", "bert", "distilbert", "electra", "roberta")
"""Model types whose vocabulary head is known here: `kdbench.encoder.word_predictor` runs it."""


BLOCKS_KNOWN = (*WORD_HEADED, "deberta", "deberta-v2")
"""Model types whose feed-forward blocks `kdbench.encoder.feed_forward` finds."""


@dataclass(frozen=True)
class Shape:
    """What is known of a model.

    Attributes:
        layers, width, heads: depth, width D, attention heads H.
        classes: number of classes C; of spans 2, the two scores of a token.
        taps: the fields of `ModelOutputs` that it fills.
        decoder_width: of what its vocabulary head's decoder is given; 0 of a model without such a head.
        apart: whether every layer has weights of its own.
        spans: whether its logits are those of every token, (B, 2, S), and not of a row.
        factored: whether any of its maps is a Kronecker product, so that another model's cannot take its place.
    """

    layers: int
    width: int
    heads: int
    classes: int
    taps: frozenset[str] = CLASSIFIER_TAPS
    decoder_width: int = 0
    apart: bool = True
    spans: bool = False
    factored: bool = False


def taps_of(model_type: str, word_head: bool = False, classes: int = 2) -> frozenset[str]:
    """What a Hugging Face encoder of that type hands out under a classification head, or under a vocabulary head.

    A head that can be put on any layer is known of BERT's classifier alone; a corpus has no classes.
    """
    known = CLASSIFIER_TAPS if model_type in BLOCKS_KNOWN else CLASSIFIER_TAPS - {"feed_forward"}
    if word_head:
        return known - {"lens"} - ({"logits"} if classes == 0 else set()) | {"decoder_inputs"}
    return known if model_type == "bert" else known - {"lens"}


def of_spans(shape: Shape) -> Shape:
    """The same model under a head that reads spans, which is put on the last layer alone."""
    return replace(shape, taps=shape.taps - {"lens"}, spans=True)


def has_layers_apart(model_type: str) -> bool:
    """Whether every layer of a Hugging Face encoder of that type has weights of its own."""
    return model_type != "albert"


def refuse_headless(model_type: str, whose: str) -> None:
    """Refuse a model that is to predict words and whose type's vocabulary head is not known here."""
    if model_type not in WORD_HEADED:
        raise KdbenchError(
            f"{whose} is of type {model_type}, whose vocabulary head is not known: choose one of "
            f"{', '.join(WORD_HEADED)}"
        )
