"""What a model hands to the knowledge: `ModelOutputs`, the one meeting point of architectures and terms.

The shapes used everywhere: logits and lens (B, C); hidden (B, S, D); query, key, value (B, H, S, d); mask (B, S), true
on real tokens. B is the batch, S the padded length, C the classes, D the width, H the heads, d = D / H.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Taps:
    """Which layers of a model a knowledge reads: the one declaration that captures, checks and caches read.

    Layers count from 1; layer 0 of `hidden` is the embedding output. `lens` is the model's own task head applied to a
    layer's output. The empty set means "not read".
    """

    logits: bool = False
    hidden: frozenset[int] = frozenset()
    query: frozenset[int] = frozenset()
    key: frozenset[int] = frozenset()
    value: frozenset[int] = frozenset()
    lens: frozenset[int] = frozenset()

    def __or__(self, other: Taps) -> Taps:
        return Taps(
            self.logits or other.logits,
            self.hidden | other.hidden,
            self.query | other.query,
            self.key | other.key,
            self.value | other.value,
            self.lens | other.lens,
        )

    @property
    def attention(self) -> frozenset[int]:
        """The layers whose attention inputs are read."""
        return self.query | self.key | self.value

    @property
    def deepest(self) -> int:
        """The last layer that is read; logits need them all, which the caller knows."""
        return max(self.hidden | self.attention | self.lens, default=0)


@dataclass(frozen=True)
class ModelOutputs:
    """The tensors of one forward pass, filled only where a term asked for them.

    `scaling` maps a layer to the factor of its scores: scores = scaling * query @ key^T. `labels` are the batch's,
    (B,): class ids (-1 where there is none) or, for a regression, floats (NaN where there is none).
    """

    mask: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    query: Mapping[int, Tensor] = field(default_factory=dict)
    key: Mapping[int, Tensor] = field(default_factory=dict)
    value: Mapping[int, Tensor] = field(default_factory=dict)
    lens: Mapping[int, Tensor] = field(default_factory=dict)
    scaling: Mapping[int, float] = field(default_factory=dict)
