from __future__ import annotations

import numpy as np
import pytest
import torch

from kdbench.data.batch import MEGABATCH, batch_plan, collate, in_order, length_order
from kdbench.data.split import Split
from kdbench.error import KdbenchError

PAD = 7


def make_split(rows: int = 23, seed: int = 0) -> tuple[Split, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    texts = [random.integers(10, 99, size=random.integers(1, 12)) for _ in range(rows)]
    offsets = np.cumsum([0, *map(len, texts)])
    tokens = np.concatenate(texts)
    split = Split(
        tokens.astype(np.int32), (tokens % 2).astype(np.int8), offsets, np.arange(rows) % 3, np.arange(rows) * 10
    )
    return split, texts


def phrase_lengths(rows: int = 67_349) -> np.ndarray:
    """Like SST-2's training phrases with [CLS] and [SEP]: many short ones, mean about 13, longest 66."""
    return np.clip(np.random.default_rng(3).gamma(1.5, 7.4, size=rows) + 3, 3, 66).astype(np.int64)


@pytest.mark.parametrize("batching", ["grouped", "exact"])
@pytest.mark.parametrize(("rows", "batch_size"), [(1, 4), (4, 4), (103, 8), (1000, 7), (8 * MEGABATCH + 1, 8)])
def test_every_row_is_in_one_batch_once(batching: str, rows: int, batch_size: int) -> None:
    plan = batch_plan(phrase_lengths(rows), batch_size, seed=1, epoch=0, batching=batching)
    assert sorted(np.concatenate(plan).tolist()) == list(range(rows))
    assert len(plan) == -(-rows // batch_size)
    assert sorted(map(len, plan), reverse=True)[:-1] == [batch_size] * (len(plan) - 1)


@pytest.mark.parametrize("batching", ["grouped", "exact"])
def test_the_plan_is_a_function_of_seed_and_epoch(batching: str) -> None:
    lengths = phrase_lengths(500)

    def flat(seed: int, epoch: int) -> list[int]:
        return np.concatenate(batch_plan(lengths, 8, seed, epoch, batching)).tolist()

    assert flat(1, 0) == flat(1, 0)
    orders = [flat(seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def padded_share(lengths: np.ndarray, batching: str) -> float:
    plan = batch_plan(lengths, 32, seed=1, epoch=0, batching=batching)
    return sum(int(lengths[rows].max()) * len(rows) for rows in plan) / int(lengths.sum())


def test_grouping_pads_by_six_percent_at_most() -> None:
    lengths = phrase_lengths()
    assert padded_share(lengths, "grouped") <= 1.06
    assert padded_share(lengths, "exact") > 1.5


def test_exact_is_a_random_permutation_without_regard_to_length() -> None:
    lengths = np.sort(phrase_lengths(3200))
    plan = batch_plan(lengths, 32, seed=1, epoch=0, batching="exact")
    means = np.array([lengths[rows].mean() for rows in plan])
    # Means of 32 independent rows: their spread is that of one row over sqrt(32), which a sorted batch exceeds by far.
    assert means.std() == pytest.approx(lengths.std() / np.sqrt(32), rel=0.25)
    grouped = batch_plan(lengths, 32, seed=1, epoch=0)
    assert np.std([lengths[rows].mean() for rows in grouped]) > 0.8 * lengths.std()


def test_grouped_batches_come_in_no_order_of_length() -> None:
    lengths = phrase_lengths(3200)
    means = [lengths[rows].mean() for rows in batch_plan(lengths, 32, seed=1, epoch=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 0}, "training.batch_size=0 must be at least 1"),
        ({"batching": "sorted"}, "training.batching=sorted is unknown; choose grouped or exact"),
    ],
)
def test_a_bad_plan_is_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(KdbenchError, match=sentence):
        batch_plan(**{"lengths": np.ones(3), "batch_size": 2, "seed": 1, "epoch": 0, **settings})


def test_collated_rows_hold_their_tokens_and_nothing_else() -> None:
    split, texts = make_split()
    rows = np.array([5, 0, 17, 3])
    batch = collate(split, rows, PAD)
    assert batch.input_ids.shape == (4, max(len(texts[row]) for row in rows))
    for place, row in enumerate(rows):
        real = batch.attention_mask[place]
        assert real.sum() == len(texts[row])
        assert batch.input_ids[place][real].tolist() == texts[row].tolist()
        assert batch.token_type_ids[place][real].tolist() == (texts[row] % 2).tolist()
        assert set(batch.input_ids[place][~real].tolist()) <= {PAD}
        assert not batch.token_type_ids[place][~real].any()
    assert batch.labels.tolist() == [row % 3 for row in rows]
    assert batch.index.tolist() == [row * 10 for row in rows]
    kinds = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.labels, batch.index)
    assert [kind.dtype for kind in kinds] == [torch.int64, torch.bool, torch.int64, torch.int64, torch.int64]


def test_a_batch_can_be_changed_without_harm_to_the_split(tmp_path) -> None:
    split, _ = make_split()
    split.save(tmp_path, "train")
    loaded = Split.load(tmp_path, "train")
    batch = collate(loaded, np.arange(4), PAD)
    batch.labels.add_(1)
    batch.index.add_(1)
    assert np.array_equal(Split.load(tmp_path, "train").labels, split.labels)
    with pytest.raises(ValueError, match="read-only"):
        loaded.tokens[0] = 0


def test_evaluation_meets_every_row_once_in_the_promised_order() -> None:
    split, texts = make_split()
    batches = list(in_order(split, 4, PAD))
    promised = length_order(split.lengths, 4)
    assert [batch.index.tolist() for batch in batches] == [(rows * 10).tolist() for rows in promised]
    assert sorted(np.concatenate(promised).tolist()) == list(range(len(texts)))
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("parts", "sizes"), [(1, [7]), (2, [4, 3]), (3, [3, 2, 2]), (7, [1] * 7), (9, [1] * 7), (0, [7])]
)
def test_micro_batches_are_even_and_whole(parts: int, sizes: list[int]) -> None:
    split, _ = make_split()
    batch = collate(split, np.arange(7), PAD)
    pieces = batch.split(parts)
    assert [len(piece) for piece in pieces] == sizes
    assert torch.equal(torch.cat([piece.input_ids for piece in pieces]), batch.input_ids)
    assert torch.equal(torch.cat([piece.labels for piece in pieces]), batch.labels)


def test_to_moves_every_tensor() -> None:
    moved = collate(make_split()[0], np.arange(3), PAD, unpadded=True).to("meta")
    assert moved.packing is not None
    assert {tensor.device.type for tensor in (*moved.columns, moved.packing.firsts)} == {"meta"}


def test_a_batch_is_packed_where_it_is_asked_for_and_pays() -> None:
    lengths = np.array([2, 5, 10, 10, 10])
    tokens = np.arange(lengths.sum(), dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    split = Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.zeros(5, np.int64), np.arange(5))
    much, little = np.array([0, 1, 2]), np.array([2, 3, 4])  # 30 places for 17 tokens, and 30 for 30
    assert collate(split, much, PAD).packing is None
    assert collate(split, little, PAD, unpadded=True).packing is None
    batch = collate(split, much, PAD, unpadded=True)
    assert batch.packing is not None
    assert torch.equal(batch.packing.whole.mask, batch.attention_mask)
    assert sorted(batch.packing.whole.pack(batch.input_ids)[0].tolist()) == list(range(17))
    assert torch.equal(batch.input_ids, collate(split, much, PAD).input_ids)


def test_micro_batches_of_a_packed_batch_are_packed_by_themselves() -> None:
    split, texts = make_split()
    rows = np.arange(7)
    whole = collate(split, rows, PAD, unpadded=True)
    assert whole.packing is not None
    pieces = whole.split(3)
    masks = [(piece.packing.whole.mask, piece.attention_mask) for piece in pieces if piece.packing is not None]
    assert len(masks) == 3 and all(torch.equal(*both) for both in masks)
    found = torch.cat([piece.packing.whole.pack(piece.input_ids)[0] for piece in pieces if piece.packing is not None])
    assert sorted(found.tolist()) == sorted(np.concatenate([texts[row] for row in rows]).tolist())
