"""What the configuration of a Hugging Face model says of its architecture, without building it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.shape import Shape, has_layers_apart, refuse_headless, taps_of

SIZES = {
    "layers": ("num_hidden_layers", "n_layers"),
    "width": ("hidden_size", "dim"),
    "heads": ("num_attention_heads", "n_heads"),
    "intermediate": ("intermediate_size", "hidden_dim"),
}
"""What transformers calls our sizes, by type of model."""


def name_of(size: str, config: Mapping[str, Any]) -> str | None:
    """Under which name a configuration has a size; None where it has not."""
    return next((name for name in SIZES[size] if isinstance(config.get(name), int)), None)


def shape_of_config(config: Mapping[str, Any], classes: int, words: bool, whose: str) -> Shape:
    """The shape of a model with this configuration.

    Args:
        config: of transformers.
        classes: of its head.
        words: whether it has a vocabulary head.
        whose: of a refusal.

    Raises:
        KdbenchError: a vocabulary head that is not known.
        KeyError: a size that the configuration does not say.
    """
    sizes = {}
    for size in ("layers", "width", "heads"):
        if (name := name_of(size, config)) is None:
            raise KeyError(size)
        sizes[size] = int(config[name])
    model_type = str(config.get("model_type"))
    if words:
        refuse_headless(model_type, whose)
    given = int(config.get("embedding_size") or sizes["width"]) if words else 0
    taps, apart = taps_of(model_type, words, classes), has_layers_apart(model_type)
    return Shape(sizes["layers"], sizes["width"], sizes["heads"], classes, taps, given, apart)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The longest sequence that it takes; None where that is not said."""
    longest = config.get("max_position_embeddings")
    return longest if isinstance(longest, int) else None
