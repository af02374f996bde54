from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.data.batch import collate
from kdbench.data.split import Split
from kdbench.encoder.base import Encoder
from kdbench.error import KdbenchError
from kdbench.json_file import read_json, write_json
from kdbench.outputs import Taps
from kdbench.store import Store
from kdbench.teacher_outputs.fill import META, VALUES, fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import Layout, Precision, read_of

from .conftest import ABOUT, EVERYTHING, folders_of

Kept = Callable[..., CachedOutputs]


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-6), ("f16", 2e-3)])
def test_what_is_read_is_what_the_teacher_says(
    teacher: Encoder, rows: Split, kept: Kept, precision: Precision, tolerance: float
) -> None:
    cached = kept(precision=precision)
    live = TeacherOutputs(EVERYTHING, teacher, stored_in=precision)
    for picked in ([0, 1, 2], [6], [2, 5], [4, 3, 1, 0]):
        batch = collate(rows, np.array(picked), 0)
        found, expected = cached(batch), live(batch)
        assert torch.equal(found.mask, batch.attention_mask) and torch.equal(found.labels, batch.labels)
        for stream in EVERYTHING:
            ours, theirs = read_of(found, stream), read_of(expected, stream)
            assert ours.shape == theirs.shape and ours.dtype == torch.float32
            layout = Layout.of(stream, teacher.shape, precision)
            for row, place in enumerate(picked):
                tokens = int(rows.lengths[place])
                real = (layout.cut(side[row], tokens) for side in (ours, theirs))
                torch.testing.assert_close(*real, atol=tolerance, rtol=tolerance)


def test_what_belongs_to_padding_is_zero(rows: Split, kept: Kept) -> None:
    found = kept()(collate(rows, np.array([2, 1]), 0))  # a row of one token and one of nine
    assert bool(found.hidden[3][0, 0].any()) and not bool(found.hidden[3][0, 1:].any())
    assert not bool(found.query[1][0, :, 1:].any()) and not bool(found.scores[1][0, :, 1:].any())


def test_nothing_else_is_written(rows: Split, kept: Kept, tmp_path: Path) -> None:
    kept(Taps(True, frozenset({2})))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hidden.2", "logits.0"]
    values = np.load(tmp_path / "hidden.2" / VALUES, mmap_mode="r")
    assert values.dtype == np.float16 and values.shape == (int(rows.lengths.sum()) * 8,)
    assert np.load(tmp_path / "logits.0" / VALUES).dtype == np.float32


@pytest.mark.parametrize(
    ("key", "value"),
    [("teacher", "another"), ("data", "another"), ("stored_in", "f32"), ("stream", "hidden.1")],
)
def test_outputs_of_something_else_are_refused(
    teacher: Encoder, rows: Split, kept: Kept, tmp_path: Path, key: str, value: str
) -> None:
    taps = Taps(hidden=frozenset({2}))
    kept(taps)
    meta = tmp_path / "hidden.2" / META
    write_json(meta, {**read_json(meta), key: value})
    with pytest.raises(KdbenchError, match=f"are of {key} {value}, not .*: delete that folder"):
        CachedOutputs(folders_of(taps, tmp_path), rows, teacher.shape, "f16", {**ABOUT, "stored_in": "f16"})


def test_outputs_of_other_rows_are_refused(teacher: Encoder, rows: Split, kept: Kept, tmp_path: Path) -> None:
    taps = Taps(hidden=frozenset({2}))
    kept(taps)
    fewer = rows.take(np.array([0, 1]))
    with pytest.raises(KdbenchError, match="are of other rows: delete that folder"):
        CachedOutputs(folders_of(taps, tmp_path), fewer, teacher.shape, "f16", {**ABOUT, "stored_in": "f16"})


def test_values_beyond_half_precision_are_refused(teacher: Encoder, rows: Split, kept: Kept) -> None:
    taps = Taps(hidden=frozenset({3}))
    with torch.no_grad():
        teacher.layers[2].output.LayerNorm.bias.fill_(1e5)
    with pytest.raises(
        KdbenchError, match=r"teacher's hidden\.3 has values beyond half .*: set teacher\.stored_in=f32"
    ):
        kept(taps)
    assert float(kept(taps, "f32")(collate(rows, np.array([0]), 0)).hidden[3].max()) > 9e4


def test_a_full_disk_is_said_before_the_teacher_runs(
    teacher: Encoder, rows: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, signature = Store(tmp_path / "store"), "0123456789abcdef"

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def never(batch: object) -> None:
        raise AssertionError("the teacher ran")

    def build(folder: Path) -> None:
        fill(never, rows, {("logits", 0): folder}, teacher.shape, "f16", 0, "cpu", {"of": ""})  # type: ignore[arg-type]

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(KdbenchError, match=r"no space is left for the store .* while computing the outputs"):
        store.obtain("outputs", signature, build)
    assert not store.has("outputs", signature) and not (store.partial("outputs", signature) / VALUES).exists()


def test_files_and_a_teacher_together_give_everything(teacher: Encoder, rows: Split, kept: Kept) -> None:
    deep, taps = Taps(True, frozenset({3})), Taps(True, frozenset({0, 1, 3}), value=frozenset({1}))
    batch = collate(rows, np.array([1, 3]), 0)
    whole = TeacherOutputs(taps, teacher, stored_in="f16")(batch)
    both = TeacherOutputs(taps, teacher, [kept(deep)], stored_in="f16")
    assert len(teacher.layers) == 1  # what is left for the teacher lies no deeper
    mixed = both(batch)
    for stream in taps:
        real = (side * batch.attention_mask[:, :, None] if stream[0] == "hidden" else side
                for side in (read_of(mixed, stream), read_of(whole, stream)))  # fmt: skip
        torch.testing.assert_close(*real, atol=2e-3, rtol=2e-3)


def test_a_teacher_cut_at_a_layer_says_the_same_up_to_there(teacher: Encoder, rows: Split) -> None:
    taps = Taps(hidden=frozenset({0, 2}), query=frozenset({2}), scores=frozenset({1}))
    batch = collate(rows, np.array([1, 3]), 0)
    with torch.no_grad():
        whole = teacher(batch, taps)
    cut = TeacherOutputs(taps, teacher)(batch)
    assert len(teacher.layers) == 2
    for stream in taps:
        torch.testing.assert_close(read_of(cut, stream), read_of(whole, stream), atol=0, rtol=0)
    deeper = TeacherOutputs(Taps(True, frozenset({3})), teacher)(batch)
    with torch.no_grad():
        assert torch.equal(deeper.hidden[3], teacher(batch, Taps(hidden=frozenset({3}))).hidden[3])
    teacher.stop_after(3)
    torch.testing.assert_close(teacher(batch, Taps(True)).logits, whole.logits, atol=0, rtol=0)
