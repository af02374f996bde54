"""The settings of a training: what is refused, how many steps it has, and the stream of its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.module.training import BatchStream, Training
from kdbench.packing import PAYS

Build = Callable[..., Training]


def rows(count: int) -> Split:
    """Rows of 1, 2, 3, 1, 2, ... tokens; every token of row i is i."""
    lengths = np.arange(count) % 3 + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.repeat(np.arange(count), lengths).astype(np.int32)
    index = np.arange(count, dtype=np.int64)
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, index % 2, index)


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("epochs", 0, "a number greater than 0"),
        ("epochs", "abc", "a number greater than 0"),
        ("epochs", None, "a number greater than 0"),
        ("epochs", float("nan"), "a number greater than 0"),
        ("epochs", float("inf"), "a number greater than 0"),
        ("max_steps", 0, "a whole number of at least 1, or null for no limit"),
        ("max_steps", 1.5, "a whole number of at least 1, or null for no limit"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("batch_size", 1.5, "a whole number of at least 1"),
        ("batch_size", True, "a whole number of at least 1"),
        ("batch_size", None, "a whole number of at least 1"),
        ("accumulate", -1, "a whole number of at least 1"),
        ("clip_norm", 0.0, "a number greater than 0, or null for no clipping"),
        ("clip_norm", "big", "a number greater than 0, or null for no clipping"),
        ("batching", "sorted", "grouped or exact"),
        ("unpadded", "auto", "true or false"),
        ("evaluations_per_epoch", 0, "a whole number of at least 1"),
        ("patience", 0, "a whole number of at least 1, or null for no early stop"),
        ("keep", "worst", "best or last"),
        ("checkpoint_every_steps", 0, "a whole number of at least 1"),
        ("log_every_steps", 2.5, "a whole number of at least 1"),
    ],
)
def test_what_makes_no_training_is_refused(settings: dict[str, Any], name: str, value: Any, way_out: str) -> None:
    with pytest.raises(KdbenchError) as caught:
        Training.from_config({**settings, name: value}, "stages.task.training")
    sentence = str(caught.value)
    assert sentence.startswith(f"stages.task.training.{name}={value}") and way_out in sentence and "\n" not in sentence


def test_unknown_and_missing_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(KdbenchError, match=r"teacher\.training\.epoch is unknown: .*kdbench --cfg job"):
        Training.from_config({**settings, "epoch": 3}, "teacher.training")
    without = {name: value for name, value in settings.items() if name != "patience"}
    with pytest.raises(KdbenchError, match=r"training\.patience has no value"):
        Training.from_config(without)


@pytest.mark.parametrize(
    ("given", "count", "per_epoch", "steps"),
    [
        ({"epochs": 3}, 12, 3, 9),
        ({"epochs": 3}, 13, 4, 12),  # a ragged last batch is a step
        ({"epochs": 3}, 1, 1, 3),
        ({"epochs": 0.5}, 16, 4, 2),
        ({"epochs": 1.25}, 16, 4, 5),
        ({"epochs": 0.01}, 16, 4, 1),  # never none
        ({"epochs": 3, "max_steps": 5}, 12, 3, 5),
        ({"epochs": 1, "max_steps": 50}, 12, 3, 3),
        ({"epochs": 2, "batch_size": 100}, 12, 1, 2),
    ],
)
def test_steps(training: Build, given: dict[str, Any], count: int, per_epoch: int, steps: int) -> None:
    assert (training(**given).steps_per_epoch(count), training(**given).steps(count)) == (per_epoch, steps)


@pytest.mark.parametrize(
    ("given", "count", "evaluated"),
    [
        ({"epochs": 3}, 12, [3, 6, 9]),
        ({"epochs": 2}, 13, [4, 8]),
        ({"epochs": 1.5}, 16, [4, 6]),  # at every epoch's end, and at the end
        ({"epochs": 0.5}, 16, [2]),
        ({"epochs": 9, "max_steps": 5}, 12, [3, 5]),
        ({"epochs": 2, "evaluations_per_epoch": 2}, 16, [2, 4, 6, 8]),
        ({"epochs": 1, "evaluations_per_epoch": 2}, 20, [2, 5]),  # 5 steps: after 5 // 2 and 5
        ({"epochs": 1, "evaluations_per_epoch": 3}, 40, [3, 6, 10]),
        ({"epochs": 2, "evaluations_per_epoch": 99}, 8, [1, 2, 3, 4]),  # never more than once a step
    ],
)
def test_evaluated(training: Build, given: dict[str, Any], count: int, evaluated: list[int]) -> None:
    chosen = training(**given)
    assert [step for step in range(1, chosen.steps(count) + 1) if chosen.evaluated(step, count)] == evaluated


@pytest.mark.parametrize("batching", ["grouped", "exact"])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 8, 9, 10])
def test_a_stream_from_a_step_is_the_tail_of_the_whole(training: Build, batching: str, start: int) -> None:
    """13 rows in batches of 4: an epoch has 4 steps, the last of one row; step 4 begins the second epoch."""
    chosen = training(batching=batching, epochs=2.5)
    whole = list(BatchStream(rows(13), chosen, 1, 0))
    tail = list(BatchStream(rows(13), chosen, 1, 0, start))
    assert len(whole) == 10 and len(tail) == 10 - start
    for left, right in zip(whole[start:], tail, strict=True):
        assert torch.equal(left.input_ids, right.input_ids) and torch.equal(left.index, right.index)
        assert (left.packing is None) == (right.packing is None)


@pytest.mark.parametrize("unpadded", [True, False])
def test_a_stream_packs_padded_batches_if_it_may(training: Build, unpadded: bool) -> None:
    batches = list(BatchStream(rows(13), training(batching="exact", unpadded=unpadded), 1, 0))
    padded = [batch.attention_mask.numel() > PAYS * batch.attention_mask.sum() for batch in batches]
    assert any(padded) and not all(padded)
    assert [batch.packing is not None for batch in batches] == [unpadded and much for much in padded]


@pytest.mark.parametrize("batching", ["grouped", "exact"])
def test_every_epoch_of_a_stream_has_every_row_once_in_another_order(training: Build, batching: str) -> None:
    batches = list(BatchStream(rows(13), training(batching=batching, epochs=2), 1, 0))
    first, second = (torch.cat([batch.index for batch in batches[part : part + 4]]) for part in (0, 4))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(13))
    assert first.tolist() != second.tolist()


def test_the_order_of_a_stream_follows_its_seed(training: Build) -> None:
    orders = [[batch.index.tolist() for batch in BatchStream(rows(13), training(), seed, 0)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_stream_can_be_read_again(training: Build) -> None:
    stream = BatchStream(rows(13), training(), 1, 0)
    assert [batch.index.tolist() for batch in stream] == [batch.index.tolist() for batch in stream]
