from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kdbench.error import KdbenchError
from kdbench.outputs import Taps
from kdbench.shape import Shape
from kdbench.teacher_outputs.choice import SPARE_BYTES, Question, choose

# A million tokens of a MiniLM: a hidden layer is 768 MB in half precision, logits 80 kB.
TAPS = Taps(True, frozenset({0, 3, 6}))
LAYER, LOGITS = 2 * 384 * 10**6, 4 * 2 * 10**4
PLENTY = Question(
    taps=TAPS,
    shape=Shape(6, 384, 12, 2),
    lengths=np.full(10**4, 100),
    precision="f16",
    readings=10,
    stored=set(),
    max_bytes=1e12,
    free_bytes=10**12,
    device="cpu",
)


def test_what_is_read_often_and_fits_is_kept() -> None:
    choice = choose("auto", PLENTY)
    assert choice.cached == tuple(TAPS) and choice.live == () and choice.bytes == 3 * LAYER + LOGITS
    assert str(choice) == "cached logits, hidden 0 3 6 (each is read 10 times, 2.3 GB to write)"


def test_what_is_read_once_is_computed_once() -> None:
    choice = choose("auto", replace(PLENTY, readings=1))
    assert choice.cached == () and "read 1 times, which does not pay" in str(choice)
    assert choose("auto", replace(PLENTY, readings=2)).cached == tuple(TAPS)
    assert choose("auto", replace(PLENTY, readings=1, stored=set(TAPS))).cached == tuple(TAPS)


def test_an_accelerator_outruns_the_disk() -> None:
    assert choose("auto", replace(PLENTY, device="cuda", readings=1000)).cached == ()
    assert choose("auto", replace(PLENTY, device="cuda", readings=1000, taps=Taps(True))).cached == (("logits", 0),)


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (3 * LAYER + LOGITS, tuple(TAPS)),
        (3 * LAYER + LOGITS - 1, (("logits", 0), ("hidden", 3), ("hidden", 6))),
        (2 * LAYER, (("logits", 0), ("hidden", 6))),
        (LAYER - 1, (("logits", 0),)),
        (LOGITS - 1, ()),
    ],
)
def test_where_not_all_fits_the_deepest_are_kept_and_the_teacher_ends_below_them(room: int, kept: object) -> None:
    for limit in ({"max_bytes": float(room)}, {"free_bytes": room + SPARE_BYTES}):
        # No layer is saved by a file of the logits alone while the teacher runs to layer 6 beside it.
        choice = choose("auto", replace(PLENTY, **limit))  # type: ignore[arg-type]
        assert choice.cached == (kept if kept != (("logits", 0),) else ())
        assert set(choice.cached) | set(choice.live) == set(TAPS) and choice.bytes <= room


def test_streams_of_one_depth_are_kept_together_or_not_at_all() -> None:
    taps = Taps(hidden=frozenset({6}), value=frozenset({6}))
    assert choose("auto", replace(PLENTY, taps=taps, max_bytes=1.5 * LAYER)).cached == ()
    stored = {("hidden", 6)}
    assert choose("auto", replace(PLENTY, taps=taps, max_bytes=1.5 * LAYER, stored=stored)).cached == tuple(taps)


def test_a_users_word_is_done() -> None:
    assert choose("live", PLENTY).live == tuple(TAPS)
    assert choose("cache", replace(PLENTY, readings=1)).cached == tuple(TAPS)
    with pytest.raises(KdbenchError, match=r"teacher\.outputs=cache needs 2\.3 GB .* teacher\.max_bytes=1e\+09: raise"):
        choose("cache", replace(PLENTY, max_bytes=1e9))
    with pytest.raises(KdbenchError, match=r"the disk has 2 GB free, of which 1\.07 GB stay so: raise"):
        choose("cache", replace(PLENTY, free_bytes=2 * 10**9))
