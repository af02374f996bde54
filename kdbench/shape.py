"""What the checks know of a model before it is built: its sizes, and what can be read from it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kdbench.error import KdbenchError
from kdbench.outputs import Taps

CLASSIFIER_TAPS = frozenset(each.name for each in fields(Taps)) - {"decoder_inputs"}

WORD_HEADED = ("albert", "bert", "distilbert", "electra", "roberta")
"""Model types whose vocabulary head is known here: `kdbench.encoder.word_predictor` runs it."""


@dataclass(frozen=True)
class Shape:
    """What is known of a model.

    Attributes:
        layers, width, heads: depth, width D, attention heads H.
        classes: number of classes C.
        taps: the fields of `ModelOutputs` that it fills.
        decoder_width: of what its vocabulary head's decoder is given; 0 of a model without such a head.
        apart: whether every layer has weights of its own, which another model's can take the place of.
    """

    layers: int
    width: int
    heads: int
    classes: int
    taps: frozenset[str] = CLASSIFIER_TAPS
    decoder_width: int = 0
    apart: bool = True


def taps_of(model_type: str, word_head: bool = False, classes: int = 2) -> frozenset[str]:
    """What a Hugging Face encoder of that type hands out under a classification head, or under a vocabulary head.

    A head that can be put on any layer is known of BERT's classifier alone; a corpus has no classes.
    """
    if word_head:
        return CLASSIFIER_TAPS - {"lens"} - ({"logits"} if classes == 0 else set()) | {"decoder_inputs"}
    return CLASSIFIER_TAPS if model_type == "bert" else CLASSIFIER_TAPS - {"lens"}


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
