"""What a model hands to the knowledge: `ModelOutputs`, the one meeting point of architectures and terms.

The shapes used everywhere: logits and lens (B, C), or logits (B, 2, S) of spans; hidden and feed_forward (B, S, D); cls
and mean (B, D); query, key, value (B, H, S, d); scores (B, H, S, S); decoder_inputs (B, S, E), of the vocabulary head's
last product; mask (B, S), true on real tokens. B is the batch, S the padded length, C the classes, D the width, H the
heads, d = D / H.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields

from torch import Tensor

from kdbench.decoder import Decoder

Stream = tuple[str, int]
"""One tensor of a model: its field in `ModelOutputs`, and its layer (0 for the fields of `WITHOUT_LAYERS`)."""

WITHOUT_LAYERS = ("logits", "decoder_inputs")
"""Fields of a model as a whole."""


@dataclass(frozen=True)
class Taps:
    """Which layers of a model a knowledge reads: the one declaration that captures, checks and caches read.

    Layers count from 1; layer 0 of `hidden`, `cls` and `mean` is the embedding output. `cls` and `mean` are the first
    token of a hidden state and the mean of its real tokens: a knowledge that sees no more of a layer says so here.
    `scores` are the scaled products of query and key before softmax. `lens` is the model's own task head applied to a
    layer's output. `feed_forward` is what the second map of a layer's feed-forward block gives, before the residual and
    the norm. `decoder_inputs` is what the vocabulary head's decoder is given, which comes with it: of the scores
    of all words, one a token, nothing is kept. The empty set means "not read".
    """

    logits: bool = False
    hidden: frozenset[int] = frozenset()
    cls: frozenset[int] = frozenset()
    mean: frozenset[int] = frozenset()
    query: frozenset[int] = frozenset()
    key: frozenset[int] = frozenset()
    value: frozenset[int] = frozenset()
    scores: frozenset[int] = frozenset()
    lens: frozenset[int] = frozenset()
    feed_forward: frozenset[int] = frozenset()
    decoder_inputs: bool = False

    def __or__(self, other: Taps) -> Taps:
        return Taps(*(getattr(self, each.name) | getattr(other, each.name) for each in fields(self)))

    def __iter__(self) -> Iterator[Stream]:
        """Every tensor that is read, in a fixed order."""
        for each in fields(self):
            found = getattr(self, each.name)
            yield from ((each.name, layer) for layer in ([0] * found if isinstance(found, bool) else sorted(found)))

    @classmethod
    def of(cls, streams: Iterable[Stream]) -> Taps:
        """The taps that read exactly these tensors."""
        read: dict[str, set[int]] = {}
        for name, layer in streams:
            read.setdefault(name, set()).add(layer)
        whole = {name: read.pop(name, None) is not None for name in WITHOUT_LAYERS}
        return cls(**{name: frozenset(of) for name, of in read.items()}, **whole)  # type: ignore[arg-type]

    @property
    def attention(self) -> frozenset[int]:
        """The layers whose attention is read."""
        return self.query | self.key | self.value | self.scores

    @property
    def states(self) -> frozenset[int]:
        """The layers whose output is read, whole or in part."""
        return self.hidden | self.cls | self.mean | self.lens

    @property
    def head(self) -> bool:
        """Whether what stands above the last layer is read."""
        return self.logits or self.decoder_inputs

    @property
    def deepest(self) -> int:
        """The last layer that is read; a head needs them all, which the caller knows."""
        return max(self.states | self.attention | self.feed_forward, default=0)


@dataclass(frozen=True)
class ModelOutputs:
    """The tensors of one forward pass, filled only where a term asked for them.

    `labels` are the batch's, (B,): class ids (-1 where there is none) or, for a regression, floats (NaN where there is
    none). `words` are its places, (B, S): see `kdbench.data.batch.Batch`. `decoder` comes with `decoder_inputs`.
    """

    mask: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None
    words: Tensor | None = None
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    cls: Mapping[int, Tensor] = field(default_factory=dict)
    mean: Mapping[int, Tensor] = field(default_factory=dict)
    query: Mapping[int, Tensor] = field(default_factory=dict)
    key: Mapping[int, Tensor] = field(default_factory=dict)
    value: Mapping[int, Tensor] = field(default_factory=dict)
    scores: Mapping[int, Tensor] = field(default_factory=dict)
    lens: Mapping[int, Tensor] = field(default_factory=dict)
    feed_forward: Mapping[int, Tensor] = field(default_factory=dict)
    decoder_inputs: Tensor | None = None
    decoder: Decoder | None = None
