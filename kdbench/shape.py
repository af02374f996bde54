"""What the checks know of a model before it is built: its sizes, and what can be read from it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kdbench.outputs import Taps

EVERY_TAP = frozenset(each.name for each in fields(Taps))


@dataclass(frozen=True)
class Shape:
    """A model's depth, width D, attention heads H, number of classes C, and the fields of `ModelOutputs` it fills."""

    layers: int
    width: int
    heads: int
    classes: int
    taps: frozenset[str] = EVERY_TAP


def taps_of(model_type: str) -> frozenset[str]:
    """What a Hugging Face encoder of that type hands out: a head that reads any layer is known of BERT's alone."""
    return EVERY_TAP if model_type == "bert" else EVERY_TAP - {"lens"}
