"""How one tensor of a teacher lies in a file: ragged, only what belongs to real tokens.

What is stored is linear in the tokens wherever a knowledge is quadratic in them or larger (queries, keys and values
instead of their relations); the one exception, attention scores, is smaller than its queries and keys for rows of fewer
than 2 d tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kdbench.data.split import Split
from kdbench.outputs import WITHOUT_LAYERS, ModelOutputs, Stream, Taps
from kdbench.shape import Shape

Precision = Literal["f16", "f32"]
ALWAYS_FULL = ("logits", "lens")
"""A few numbers a row, on which temperatures act: never rounded."""


def name(stream: Stream) -> str:
    """A stream in a word: `logits`, `hidden.3`."""
    return stream[0] if stream[0] in WITHOUT_LAYERS else f"{stream[0]}.{stream[1]}"


def depth(stream: Stream, shape: Shape) -> int:
    """How many layers must run for it; one more than there are for what needs the head too."""
    return shape.layers + 1 if stream[0] in WITHOUT_LAYERS else stream[1]


@dataclass(frozen=True)
class Layout:
    """The rows of a stream: `width` numbers for every combination of tokens, `axes` of them.

    Attributes:
        field: of `ModelOutputs`.
        sizes: of a row's axes; 0 stands for the row's tokens.
        dtype: of the file.
    """

    field: str
    sizes: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, stream: Stream, shape: Shape, precision: Precision) -> Layout:
        """The layout of a stream of a model of that shape."""
        field, heads = stream[0], shape.heads
        sizes: tuple[int, ...] = {
            "logits": (shape.classes, 0) if shape.spans else (shape.classes,),
            "lens": (shape.classes,),
            "cls": (shape.width,),
            "mean": (shape.width,),
            "hidden": (0, shape.width),
            "feed_forward": (0, shape.width),
            "decoder_inputs": (0, shape.decoder_width),
            "scores": (heads, 0, 0),
        }.get(field, (heads, 0, shape.width // heads))
        half = precision == "f16" and field not in ALWAYS_FULL
        return cls(field, sizes, torch.float16 if half else torch.float32)

    def lengths(self, split: Split) -> np.ndarray:
        """Tokens of each of the file's rows: those of the split, of which a choice's sequences have one each but for
        the logits, which are of all of them together."""
        return split.row_lengths if self.field == "logits" else split.lengths

    def places(self, split: Split, rows: np.ndarray) -> np.ndarray:
        """The file's rows that belong to rows of the split."""
        return rows if self.field == "logits" else split.sequences(rows)

    def row(self, tokens: int) -> tuple[int, ...]:
        """The axes of a row of that many tokens."""
        return tuple(size or tokens for size in self.sizes)

    def numbers(self, lengths: np.ndarray) -> np.ndarray:
        """How many numbers each row has, given its tokens: (rows,) -> (rows,) int64."""
        fixed = int(np.prod([size for size in self.sizes if size]))
        return np.asarray(fixed * lengths.astype(np.int64) ** self.sizes.count(0))

    def bytes(self, lengths: np.ndarray) -> int:
        """The size of the file for rows of these lengths."""
        return int(self.numbers(lengths).sum()) * self.dtype.itemsize

    def cut(self, row: Tensor, tokens: int) -> Tensor:
        """The part of one row's padded tensor that belongs to its real tokens; a view."""
        for axis, size in enumerate(self.sizes):
            if not size:
                row = row.narrow(axis, 0, tokens)
        return row


def round_to(outputs: ModelOutputs, taps: Taps, precision: Precision) -> ModelOutputs:
    """The outputs in float32, as a file of that precision would give them back: live and cached teachers agree."""

    def back(field: str, values: Tensor) -> Tensor:
        return values.half().float() if precision == "f16" and field not in ALWAYS_FULL else values.float()

    read = ((stream, back(stream[0], read_of(outputs, stream))) for stream in taps)
    assert outputs.labels is not None
    return filled(outputs.mask, outputs.labels, read)


def read_of(outputs: ModelOutputs, stream: Stream) -> Tensor:
    """A stream's padded tensor, batch first."""
    field, layer = stream
    values = getattr(outputs, field)
    found: Tensor = values if field in WITHOUT_LAYERS else values[layer]
    return found


def filled(mask: Tensor, labels: Tensor, tensors: Iterable[tuple[Stream, Tensor]]) -> ModelOutputs:
    """`ModelOutputs` of these streams."""
    fields: dict[str, dict[int, Tensor]] = {}
    for (field, layer), values in tensors:
        fields.setdefault(field, {})[layer] = values
    whole = {field: fields.pop(field)[0] for field in WITHOUT_LAYERS if field in fields}
    return ModelOutputs(mask=mask, labels=labels, **whole, **fields)  # type: ignore[arg-type]
