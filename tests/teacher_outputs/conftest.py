"""A small teacher, rows for it, and files of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.data.split import Split
from kdbench.encoder.base import Encoder
from kdbench.head import ClassHead
from kdbench.outputs import Stream, Taps
from kdbench.student.bert import bert
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import Precision

ABOUT = {"teacher": "t", "data": "d", "split": "train", "computed_in": "f32"}
LAYERS = frozenset({1, 2, 3})
EVERYTHING = Taps(True, LAYERS | {0}, LAYERS | {0}, LAYERS | {0}, LAYERS, LAYERS, LAYERS, LAYERS, LAYERS)


@pytest.fixture
def teacher() -> Encoder:
    """BERT with 3 layers of width 8, 2 heads and 3 classes."""
    torch.manual_seed(0)
    model = bert(3, 8, 2, 16, 30, ClassHead(("one", "two", "three")), max_positions=16)
    assert isinstance(model, Encoder)
    return model.eval()


@pytest.fixture
def rows() -> Split:
    """7 rows of 1 to 9 tokens, whose places in their source are out of order."""
    lengths = np.array([3, 9, 1, 4, 4, 7, 2])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(0).integers(5, 30, size=int(offsets[-1])).astype(np.int32)
    index = np.array([10, 3, 5, 0, 12, 4, 1])
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.arange(7) % 3, index)


@pytest.fixture
def kept(teacher: Encoder, rows: Split, tmp_path: Path) -> Callable[..., CachedOutputs]:
    """Writes the outputs that taps name and opens them."""

    def write(taps: Taps = EVERYTHING, precision: Precision = "f16") -> CachedOutputs:
        folders = folders_of(taps, tmp_path)
        about = {**ABOUT, "stored_in": precision}
        source = TeacherOutputs(taps, teacher)
        fill(source, rows, folders, teacher.shape, precision, 0, "cpu", {**about, "of": "a teacher", "built_from": []})
        return CachedOutputs(folders, rows, teacher.shape, precision, about)

    return write


def folders_of(taps: Iterable[Stream], root: Path) -> dict[Stream, Path]:
    folders = {stream: root / f"{stream[0]}.{stream[1]}" for stream in taps}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    return folders
