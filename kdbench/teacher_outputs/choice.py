"""Which of a teacher's outputs are kept and read back, and which are computed anew at every step.

Plain arithmetic on sizes: nothing is measured, so that the same question is always answered alike. The speeds below
are round figures of one core and of one large accelerator; `kdbench-profile` prints what a machine really does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbench.error import KdbenchError
from kdbench.outputs import WITHOUT_LAYERS, Stream, Taps
from kdbench.shape import Shape
from kdbench.teacher_outputs.stream import Layout, Precision, depth

Outputs = Literal["auto", "cache", "live"]
OUTPUTS = ("auto", "cache", "live")
FLOPS_PER_SECOND = {"cpu": 8e10, "cuda": 3e14}
"""A teacher's matrix products: one core in float32; one large accelerator."""
READ_BYTES_PER_SECOND = 1e9
WRITE_BYTES_PER_SECOND = 5e8
SPARE_BYTES = 1 << 30
"""What is left free on the disk."""


@dataclass(frozen=True)
class Choice:
    """What becomes of a teacher's outputs: the streams that are read from files, those of a live teacher, and why.

    `bytes` is the size of the files that are still to be written.
    """

    cached: tuple[Stream, ...]
    live: tuple[Stream, ...]
    bytes: int
    reason: str

    def __str__(self) -> str:
        parts = [
            f"{word} {listed(streams)}" for word, streams in (("cached", self.cached), ("live", self.live)) if streams
        ]
        return f"{'; '.join(parts)} ({self.reason})"


@dataclass(frozen=True)
class Question:
    """What the choice depends on.

    Attributes:
        taps: what the terms read of the teacher.
        shape: of the teacher.
        lengths: tokens of each row, (rows,).
        precision: of the files.
        readings: how often a row is read, over all epochs of all runs that share the files.
        stored: streams whose files are there already.
        max_bytes: most bytes that files may take.
        free_bytes: of the disk.
        device: `cpu` or `cuda`.
        copies: versions of the rows, each with files of its own.
    """

    taps: Taps
    shape: Shape
    lengths: np.ndarray
    precision: Precision
    readings: float
    stored: Collection[Stream]
    max_bytes: float
    free_bytes: int
    device: str
    copies: int = 1

    def bytes(self, streams: Sequence[Stream]) -> int:
        """Of files that are not there yet."""
        return self.copies * sum(self.size(stream) for stream in streams if stream not in self.stored)

    def size(self, stream: Stream) -> int:
        """Of one file, there or not."""
        return Layout.of(stream, self.shape, self.precision).bytes(self.lengths)

    def seconds(self, streams: Sequence[Stream]) -> float:
        """Of a teacher that computes these streams of every row once, as deep as the deepest of them lies."""
        layers = min(self.shape.layers, max((depth(stream, self.shape) for stream in streams), default=0))
        tokens, squares = float(self.lengths.sum()), float((self.lengths.astype(np.int64) ** 2).sum())
        width = self.shape.width
        flops = layers * (24 * width**2 * tokens + 4 * width * squares)
        return flops / FLOPS_PER_SECOND[self.device]

    def read_seconds(self, streams: Sequence[Stream]) -> float:
        """Of reading these streams of every row once."""
        return sum(self.size(stream) for stream in streams) / READ_BYTES_PER_SECOND


def choose(outputs: Outputs, question: Question) -> Choice:
    """Choose for one run.

    `auto` keeps as much as pays and fits, from the deepest stream down: a teacher that has to run anyway gives the
    streams above its last layer for nothing.

    Args:
        outputs: the user's word; anything but `auto` is done as said.
        question: the rest.

    Raises:
        KdbenchError: files that were asked for and do not fit.
    """
    streams = tuple(question.taps)
    if outputs == "live":
        return Choice((), streams, 0, "as asked")
    needed = question.bytes(streams)
    room = min(question.max_bytes, max(0, question.free_bytes - SPARE_BYTES))
    if outputs == "cache":
        if needed > room:
            raise KdbenchError(
                f"teacher.outputs=cache needs {in_words(needed)} for {listed(streams)}, but "
                f"{_limit(question, room)}: raise the limit, free some space, or set teacher.outputs=auto"
            )
        return Choice(streams, (), needed, f"as asked, {in_words(needed)} to write")
    cached = _that_fit(question, room)
    live = tuple(stream for stream in streams if stream not in cached)
    written, saved = question.bytes(cached), question.seconds(streams) - question.seconds(live)
    if not cached:
        return Choice((), streams, 0, f"{in_words(needed)} do not fit: {_limit(question, room)}")
    first = question.copies * question.seconds(cached) + written / WRITE_BYTES_PER_SECOND if written else 0.0
    if question.readings * saved <= first + question.readings * question.read_seconds(cached):
        return Choice((), streams, 0, f"each is read {question.readings:g} times, which does not pay for a file")
    return Choice(cached, live, written, f"each is read {question.readings:g} times, {in_words(written)} to write")


def _that_fit(question: Question, room: float) -> tuple[Stream, ...]:
    """The deepest streams that fit, all of a depth or none of it."""
    kept: list[Stream] = []
    depths = {stream: depth(stream, question.shape) for stream in question.taps}
    for level in sorted(set(depths.values()), reverse=True):
        more = [stream for stream in question.taps if depths[stream] == level]
        if question.bytes([*kept, *more]) > room:
            break
        kept += more
    return tuple(stream for stream in question.taps if stream in kept)


def _limit(question: Question, room: float) -> str:
    if room == question.max_bytes:
        return f"teacher.max_bytes={question.max_bytes:g}"
    return f"the disk has {in_words(question.free_bytes)} free, of which {in_words(SPARE_BYTES)} stay so"


def listed(streams: Sequence[Stream]) -> str:
    """Streams in words: `logits, hidden 0 2 4`."""
    layers: dict[str, list[str]] = {}
    for field, layer in streams:
        layers.setdefault(field, []).append(str(layer))
    return ", ".join(
        field if field in WITHOUT_LAYERS else f"{field} {' '.join(found)}" for field, found in layers.items()
    )


def in_words(count: float) -> str:
    """Bytes for a reader: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
