"""Run a teacher over a split once and keep its outputs, one file a stream."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from kdbench.data.batch import Batch, collate, length_order
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.json_file import write_json
from kdbench.outputs import ModelOutputs, Stream
from kdbench.shape import Shape
from kdbench.teacher_outputs.stream import Layout, Precision, name, read_of

log = logging.getLogger(__name__)

VALUES, OFFSETS, META = "values.npy", "offsets.npy", "meta.json"
BATCH = 32
"""Rows of a batch: plays no part in what is kept, beyond the last bits."""


def fill(
    teacher: Callable[[Batch], ModelOutputs],
    split: Split,
    folders: Mapping[Stream, Path],
    shape: Shape,
    precision: Precision,
    padding_id: int,
    device: str,
    about: Mapping[str, Any],
) -> None:
    """Write `values.npy`, `offsets.npy` and `meta.json` of every stream into its folder, in one pass over the split.

    Args:
        teacher: gives the streams of a batch.
        split: the rows, whose order is that of the files.
        folders: of the streams that are wanted.
        shape: of the teacher.
        precision: of the files.
        padding_id: the tokenizer's.
        device: where the teacher runs.
        about: the fingerprint of what is kept, for `meta.json`, and whose it is (`of`).

    Raises:
        KdbenchError: an output that is not finite in that precision.
        OSError: no space for the files, said before the teacher runs.
    """
    files = {stream: _File(folder, Layout.of(stream, shape, precision), split) for stream, folder in folders.items()}
    plan = length_order(split.row_lengths, BATCH)
    done = tqdm(plan, desc="teacher outputs", unit="batch", disable=not sys.stderr.isatty(), leave=False)
    for rows in done:
        outputs = teacher(collate(split, rows, padding_id, unpadded=True).to(device))
        for stream, file in files.items():
            file.write(rows, read_of(outputs, stream).cpu(), stream)
    for stream, file in files.items():
        file.close()
        label = f"{name(stream)} of {about['of']}"
        write_json(folders[stream] / META, {**about, "stream": name(stream), "label": label})


class _File:
    """The values of one stream, written row by row in any order."""

    def __init__(self, folder: Path, layout: Layout, split: Split) -> None:
        self.layout, self.split, self.lengths = layout, split, layout.lengths(split)
        self.offsets = np.concatenate([[0], np.cumsum(layout.numbers(self.lengths))]).astype(np.int64)
        np.save(folder / OFFSETS, self.offsets)
        dtype = np.float16 if layout.dtype == torch.float16 else np.float32
        path = folder / VALUES
        mapped = np.lib.format.open_memmap(path, "w+", dtype, (int(self.offsets[-1]),))
        # A memory map over a full disk ends in a bus error, which nobody can catch: the space is asked for first.
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError:
                path.unlink()
                raise
        self.mapped = mapped
        self.values = torch.from_numpy(mapped)

    def write(self, rows: np.ndarray, values: torch.Tensor, stream: Stream) -> None:
        for row, padded in zip(self.layout.places(self.split, rows), values, strict=True):
            real = self.layout.cut(padded, int(self.lengths[row])).to(self.layout.dtype)
            if not bool(real.isfinite().all()):
                raise KdbenchError(
                    f"the teacher's {name(stream)} has values beyond half precision or none at all: set "
                    "teacher.stored_in=f32, or look at the teacher"
                )
            self.values[self.offsets[row] : self.offsets[row + 1]] = real.reshape(-1)

    def close(self) -> None:
        self.mapped.flush()
