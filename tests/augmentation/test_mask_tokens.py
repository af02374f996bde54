"""Masked versions of the rows: how many tokens, which, and that nothing but counters decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kdbench
from kdbench import counter
from kdbench.augmentation.mask_tokens import MaskTokens
from kdbench.augmentation.unchanged import Unchanged
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.module.training import BatchStream, Training
from kdbench.store import Store

CLS, SEP, MASK = 1, 2, 3
TOKENIZER = SimpleNamespace(mask_token_id=MASK, all_special_ids=[0, CLS, SEP, MASK])
Overrides = Callable[..., list[str]]


@pytest.fixture
def rows() -> Split:
    """2,000 rows of 5 to 20 tokens between [CLS] and [SEP]."""
    random = np.random.default_rng(0)
    parts = [np.array([CLS, *random.integers(4, 99, size=random.integers(5, 21)), SEP]) for _ in range(2000)]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    tokens = np.concatenate(parts).astype(np.int32)
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.zeros(2000, np.int64), random.permutation(2000))


def test_numbers_are_uniform_and_independent_of_their_neighbours() -> None:
    grid = np.meshgrid(np.arange(300), np.arange(400), indexing="ij")
    drawn = counter.uniform(7, *grid)
    assert drawn.shape == (300, 400) and drawn.min() >= 0.0 and drawn.max() < 1.0
    # 120,000 draws: the mean has a standard deviation of 0.0008, a correlation one of 0.003.
    assert abs(drawn.mean() - 0.5) < 0.004 and abs(drawn.var() - 1 / 12) < 0.003
    for left, right in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1]), (drawn, counter.uniform(8, *grid))):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.015
    assert counter.uniform(7, np.array([250]), np.array([39]))[0] == drawn[250, 39]
    assert counter.uniform(7, np.array([39]), np.array([250]))[0] != drawn[250, 39]


def test_the_first_number_of_splitmix64_is_its_published_one() -> None:
    """Seed 1234567 begins with 6457827717110365317 (the reference implementation's first output)."""
    state = counter._mixed(np.uint64(1234567) + counter.GOLDEN)
    assert int(state) == 6457827717110365317


def test_the_rate_is_met_on_ordinary_tokens_and_versions_differ(rows: Split) -> None:
    ordinary = rows.tokens > MASK
    made = [MaskTokens(0.15, 10).variant(rows, number, TOKENIZER).tokens for number in range(3)]
    for tokens in made:
        masked = tokens == MASK
        assert abs(masked[ordinary].mean() - 0.15) < 0.01 and not masked[~ordinary].any()
        assert np.array_equal(tokens[~masked], rows.tokens[~masked])
    first, second = (tokens == MASK for tokens in made[:2])
    assert abs(np.corrcoef(first[ordinary], second[ordinary])[0, 1]) < 0.03


def test_a_row_is_masked_alike_whoever_stands_beside_it(rows: Split) -> None:
    augmentation = MaskTokens(0.3)
    whole = augmentation.variant(rows, 4, TOKENIZER)
    picked = np.array([1500, 3, 42])
    part = augmentation.variant(rows.take(picked), 4, TOKENIZER)
    assert np.array_equal(part.tokens, whole.take(picked).tokens) and np.array_equal(part.index, rows.index[picked])
    other = MaskTokens(0.3, seed=1).variant(rows, 4, TOKENIZER)
    assert not np.array_equal(other.tokens, whole.tokens)
    assert np.array_equal(MaskTokens(0.0).variant(rows, 0, TOKENIZER).tokens, rows.tokens)


def test_every_epoch_sees_its_version_also_after_a_resume(rows: Split) -> None:
    rows, augmentation = rows.take(np.arange(8)), MaskTokens(0.5, variants=2)
    training = Training(4, None, 4, 1, None, "exact", True, 1, None, "last", 10, 1)
    stream = BatchStream(rows, training, 1, 0, 0, lambda epoch: augmentation.variant(rows, epoch % 2, TOKENIZER))
    batches = list(stream)
    for step, batch in enumerate(batches):
        expected = augmentation.variant(rows, step // 2 % 2, TOKENIZER)
        for ids, mask, index in zip(batch.input_ids, batch.attention_mask, batch.index.tolist(), strict=True):
            row = int(np.flatnonzero(rows.index == index)[0])
            assert ids[mask].tolist() == expected.tokens[expected.offsets[row] : expected.offsets[row + 1]].tolist()
    later = list(BatchStream(rows, training, 1, 0, 5, stream.variant))
    assert all((ours.input_ids == theirs.input_ids).all() for ours, theirs in zip(later, batches[5:], strict=True))


@pytest.mark.parametrize("options", [{"rate": 1.0}, {"rate": -0.1}, {"variants": 0}, {"seed": -1}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(KdbenchError, match=f"augmentation.{min(options)}"):
        MaskTokens(**options)


def test_a_tokenizer_without_a_mask_token_is_refused(rows: Split) -> None:
    with pytest.raises(KdbenchError, match="augmentation=none"):
        MaskTokens().variant(rows, 0, SimpleNamespace(mask_token_id=None, all_special_ids=[]))
    assert Unchanged().variant(rows, 0, None) is rows


def test_a_teachers_outputs_are_kept_for_each_version(tiny: Overrides, tmp_path: Path) -> None:
    augmented = ["augmentation=mask_tokens", "augmentation.variants=2", "augmentation.rate=0.3", "training.epochs=3"]
    sides = [
        kdbench.run(kdbench.compose(tiny(*augmented, f"teacher.outputs={word}", f"paths.store={tmp_path / word}")))
        for word in ("cache", "live")
    ]
    assert len(Store(tmp_path / "cache").artefacts("outputs")) == 2
    assert sides[0]["signature"] == sides[1]["signature"]
    losses = [[entry["train/loss"] for entry in side["history"] if "train/loss" in entry] for side in sides]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    plain = kdbench.run(kdbench.compose(tiny("training.epochs=3", f"paths.store={tmp_path / 'live'}")))
    assert plain["signature"] != sides[0]["signature"] and plain["history"] != sides[1]["history"]
