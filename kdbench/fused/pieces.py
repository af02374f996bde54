"""Cutting a batch of square score maps into pieces that are computed one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CACHED = 2**18
"""Scores of a piece on a CPU: 1 MiB in float32, so that the passes over them meet them in a core's cache."""

HELD = 2**24
"""Scores of a piece elsewhere, 64 MiB in float32: a batch is a few kernels and not a few hundred. Not measured yet."""

WASTED = 2**14
"""Scores of padding that are worth a piece of their own: computing them takes about as long as starting one."""

SHORTEST = 16
"""Pieces are that long at least, where the batch is: a CPU takes shorter rows number by number, ten times slower."""


@dataclass(frozen=True)
class Piece:
    """Some heads of some examples, as long as the longest of them, or a little longer."""

    examples: list[int]
    heads: slice
    length: int
    padded: bool
    """Whether there are places below `length` without a real token."""


def pieces(tokens: Tensor, heads: int) -> Iterator[Piece]:
    """All examples and heads once, longest examples first; none for an example without tokens.

    Examples of similar length stand together. Of examples with more scores than a piece holds there are some heads.

    Args:
        tokens: (B, S), true on real tokens.
        heads: score maps an example.
    """
    most = CACHED if tokens.device.type == "cpu" else HELD
    places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    ends, counts = torch.stack([(tokens * places).amax(dim=1), tokens.sum(dim=1)]).tolist()
    shortest = min(SHORTEST, tokens.shape[1])
    lengths = [end and max(end, shortest) for end in ends]
    for examples in _alike(lengths, heads, most):
        length = lengths[examples[0]]
        padded = any(counts[example] < length for example in examples)
        share = max(1, most // (len(examples) * length**2))
        for first in range(0, heads, share):
            yield Piece(examples, slice(first, first + share), length, padded)


def _alike(lengths: list[int], heads: int, most: int) -> Iterator[list[int]]:
    """Examples by falling length, together as long as they fit into a piece and waste little of it."""
    group: list[int] = []
    wasted = 0
    for example in sorted(range(len(lengths)), key=lambda example: -lengths[example]):
        length = lengths[example]
        if length == 0:
            break
        longest = lengths[group[0]] if group else length
        wasted += heads * (longest**2 - length**2)
        if group and ((len(group) + 1) * heads * longest**2 > most or wasted > WASTED):
            yield group
            group, wasted = [], 0
        group.append(example)
    if group:
        yield group
