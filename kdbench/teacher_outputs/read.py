"""A teacher's outputs, read back batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdbench.data.batch import Batch
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.json_file import read_json
from kdbench.outputs import ModelOutputs, Stream
from kdbench.shape import Shape
from kdbench.teacher_outputs.fill import META, OFFSETS, VALUES
from kdbench.teacher_outputs.stream import Layout, Precision, filled, name


class CachedOutputs:
    """The streams of one teacher over one split, memory-mapped.

    Args:
        folders: of the streams.
        split: the rows that they are of.
        shape: of the teacher.
        precision: of the files.
        about: the fingerprint that they must have.

    Raises:
        KdbenchError: a file that is of another teacher, other data, or other rows.
    """

    def __init__(
        self,
        folders: Mapping[Stream, Path],
        split: Split,
        shape: Shape,
        precision: Precision,
        about: Mapping[str, Any],
    ) -> None:
        self.streams = {
            stream: _Stream(folder, Layout.of(stream, shape, precision), split, {**about, "stream": name(stream)})
            for stream, folder in folders.items()
        }
        # The rows of a batch are known by their places in the source; the files have the split's order.
        self.place = np.full(int(split.index.max(initial=-1)) + 1, -1, dtype=np.int64)
        self.place[split.index] = np.arange(len(split))

    def __call__(self, batch: Batch) -> ModelOutputs:
        """The teacher's outputs for a batch, padded as it is, in float32 on its device."""
        rows = self.place[batch.index.cpu().numpy()]
        device, length = batch.input_ids.device, batch.input_ids.shape[1]
        read = ((stream, kept.padded(rows, length).to(device)) for stream, kept in self.streams.items())
        return filled(batch.attention_mask, batch.labels, read)


class _Stream:
    """One file."""

    def __init__(self, folder: Path, layout: Layout, split: Split, about: Mapping[str, Any]) -> None:
        self.layout, self.split, self.lengths = layout, split, layout.lengths(split)
        found = read_json(folder / META)
        wrong = [key for key, value in about.items() if found.get(key) != value]
        self.offsets = np.load(folder / OFFSETS)
        expected = np.concatenate([[0], np.cumsum(layout.numbers(self.lengths))])
        # Copy-on-write: torch cannot wrap what is read-only, and nothing is ever written.
        values = np.load(folder / VALUES, mmap_mode="c")
        if wrong or not np.array_equal(self.offsets, expected) or values.shape != (int(expected[-1]),):
            what = f"{wrong[0]} {found.get(wrong[0])}, not {about[wrong[0]]}" if wrong else "other rows"
            raise KdbenchError(
                f"the teacher outputs in {folder} are of {what}: delete that folder, and the same command computes "
                "them anew"
            )
        self.values = torch.from_numpy(values)

    def padded(self, rows: np.ndarray, length: int) -> Tensor:
        """These rows in float32, with zeros after each row's tokens."""
        rows = self.layout.places(self.split, rows)
        if 0 not in self.layout.sizes:
            return self.values.view(-1, *self.layout.sizes)[torch.from_numpy(rows)].float()
        padded = torch.zeros((len(rows), *self.layout.row(length)))
        whole, *within = padded.stride()
        # A batch has hundreds of rows, over all its streams, and of short ones the calls cost more than the copies: a
        # view by strides is one call where a slice, its shape and a cut at the row's tokens are four.
        places = zip(self.lengths[rows].tolist(), self.offsets[rows].tolist(), strict=True)
        for place, (tokens, start) in enumerate(places):
            row = self.layout.row(tokens)
            kept = self.values.as_strided(row, [prod(row[axis + 1 :]) for axis in range(len(row))], start)
            padded.as_strided(row, within, place * whole).copy_(kept)
        return padded
