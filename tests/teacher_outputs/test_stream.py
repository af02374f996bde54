from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.outputs import Stream, Taps
from kdbench.shape import Shape
from kdbench.teacher_outputs.stream import Layout, depth, name

SHAPE = Shape(6, 384, 12, 3)


@pytest.mark.parametrize(
    ("stream", "numbers"),
    [
        (("logits", 0), [3, 3]),
        (("lens", 2), [3, 3]),
        (("cls", 2), [384, 384]),
        (("mean", 0), [384, 384]),
        (("hidden", 6), [5 * 384, 128 * 384]),
        (("query", 1), [5 * 384, 128 * 384]),
        (("value", 1), [5 * 384, 128 * 384]),
        (("scores", 1), [5 * 5 * 12, 128 * 128 * 12]),
    ],
)
def test_only_real_tokens_are_kept(stream: Stream, numbers: list[int]) -> None:
    lengths = np.array([5, 128])
    half, full = (Layout.of(stream, SHAPE, precision) for precision in ("f16", "f32"))  # type: ignore[arg-type]
    assert half.numbers(lengths).tolist() == full.numbers(lengths).tolist() == numbers
    assert full.bytes(lengths) == 4 * sum(numbers)
    assert half.bytes(lengths) == (4 if stream[0] in ("logits", "lens") else 2) * sum(numbers)
    assert [int(np.prod(half.row(tokens))) for tokens in (5, 128)] == numbers


def test_the_real_part_of_a_row_is_a_view_of_it() -> None:
    row = torch.arange(2 * 4 * 4.0).reshape(2, 4, 4)
    cut = Layout.of(("scores", 1), Shape(1, 8, 2, 2), "f32").cut(row, 3)
    assert torch.equal(cut, row[:, :3, :3]) and cut.data_ptr() == row.data_ptr()


def test_every_tap_has_a_layout_and_a_depth() -> None:
    layer = frozenset({2})
    for stream in Taps(True, layer, layer, layer, layer, layer, layer, layer, layer):
        assert Layout.of(stream, SHAPE, "f16").bytes(np.array([4])) > 0
        assert depth(stream, SHAPE) == (7 if stream == ("logits", 0) else 2)
        assert name(stream) == ("logits" if stream == ("logits", 0) else f"{stream[0]}.2")
        assert Taps.of([stream]) | Taps() == Taps.of([stream]) and list(Taps.of([stream])) == [stream]
