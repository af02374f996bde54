"""What padding costs, and what is left of that with batches of like length and with models that leave padding out.

Rows of random tokens whose lengths follow three laws, in the engine's batches of 32. First their padded places per real
token, over 64,000 rows. Then the CPU time per real token of whole steps (frozen teacher, student with dropout, six
losses, backward, clipping, fused AdamW) of three ways: `dynamic` (random batches, padded to their longest row),
`grouped`, and `unpadded` (the same batches as `dynamic`, run on their real tokens). Losses and gradients of packed
batches are first checked to be those of padded ones.

The gates are asked of the two laws of training rows: nobody trains on the third, of rows of more equal length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks import measure
from benchmarks.line import Line
from benchmarks.measure import cpu_seconds, gain, in_turns, same, spread
from benchmarks.models import STUDENT, TEACHER, encoder, frozen
from benchmarks.rows import LAWS, rows_of
from benchmarks.step_overhead import Plain, six_terms
from benchmarks.task import PADDING_ID, Task
from benchmarks.with_kdbench import SEED, training_of
from kdbench.data.batch import Batch, batch_plan, packed
from kdbench.module.training import BatchStream

ROWS, COUNTED_ROWS, BATCH = 1600, 64_000, 32  # 50 batches, which grouped batching sorts together; and enough for shares
EXACT = replace(training_of(Task(1, 1, ROWS), "exact"), unpadded=False)
WAYS = {"dynamic": EXACT, "grouped": replace(EXACT, batching="grouped"), "unpadded": replace(EXACT, unpadded=True)}
GOALS = {"grouped": ("P7", 1.9), "unpadded": ("P7b", 1.6)}
LARGEST_SHARE, NO_TRAINING = 1.06, "SST-2 validation"


def lines(full: bool) -> list[Line]:
    names = list(LAWS) if full else list(LAWS)[:1]
    return [line for name in names for line in of_law(name, every=5 if full else 10, rounds=5 if full else 2)]


def of_law(name: str, every: int, rounds: int) -> list[Line]:
    """The lines of one law of lengths, measured on one of so many of its batches."""
    law, asked = LAWS[name], name != NO_TRAINING
    lengths, split = law.lengths(COUNTED_ROWS), rows_of(law.lengths(ROWS))
    streams = {way: BatchStream(split, training, SEED, PADDING_ID) for way, training in WAYS.items()}
    batches = {way: thinned(list(stream), every) for way, stream in streams.items()}
    note = f"{name}: largest relative difference of losses and gradients {difference(batches['dynamic'][0]):.0e}"
    sides = {way: made() for way in WAYS}
    found = in_turns({way: partial(per_token, partial(step, sides[way]), batches[way]) for way in WAYS}, rounds)
    shares = {"dynamic": share(lengths, "exact"), "grouped": share(lengths, "grouped")}
    padded = {"pad 128": 128 * len(lengths) / int(lengths.sum()), **shares}
    told = {"microseconds_a_token": {way: 1e6 * spread(values)[0] for way, values in found.items()}}
    return [
        Line(
            "P7",
            f"places a real token in grouped batches, lengths like {name}",
            f"dynamic padding: {shares['dynamic']:.2f}",
            (shares["grouped"],) * 3,
            LARGEST_SHARE if asked else None,
            at_most=True,
            unit="",
            details={"places_a_token": padded},
        ),
        *(
            Line(
                goal,
                f"{way}: a step, lengths like {name}",
                "dynamic padding",
                gain(found["dynamic"], found[way]),
                gate if asked else None,
                note=note if way == "unpadded" else "",
                details=told,
            )
            for way, (goal, gate) in GOALS.items()
        ),
    ]


def share(lengths: np.ndarray, batching: str) -> float:
    """Padded places per real token."""
    plan = batch_plan(lengths, BATCH, SEED, 0, batching)
    return sum(int(lengths[rows].max()) * len(rows) for rows in plan) / int(lengths.sum())


def thinned(batches: list[Batch], every: int) -> list[Batch]:
    """One of so many batches, from the shortest to the longest, so that few stand for all."""
    return sorted(batches, key=tokens)[every // 2 :: every]


def tokens(batch: Batch) -> int:
    return int(batch.attention_mask.sum())


def made(dropout: bool = True) -> Plain:
    ours, teacher = encoder(STUDENT, 1), encoder(TEACHER, 2)
    frozen(teacher)
    for part in ours.modules():
        if isinstance(part, nn.Dropout) and not dropout:
            part.p = 0.0
    return Plain(ours, teacher, six_terms(ours, teacher))


def step(side: Plain, batch: Batch) -> None:
    torch.stack(side.losses(batch)).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(side.learned, 1.0)
    side.optimizer.step()
    side.optimizer.zero_grad()


def per_token(work: Callable[[Batch], object], batches: list[Batch]) -> float:
    """CPU seconds per real token."""
    return cpu_seconds(lambda: [work(batch) for batch in batches]) / sum(map(tokens, batches))


def difference(batch: Batch) -> float:
    """The largest relative difference of losses and gradients, packed against padded; refuses more than float noise."""
    assert batch.packing is None
    sides = []
    for form in (batch, packed(batch)):
        side = made(dropout=False)
        losses = torch.stack(side.losses(form))
        losses.sum().backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad.flatten() for weight in side.learned if weight.grad is not None]
        sides.append((losses.detach(), torch.cat(gradients)))
    found = max(measure.difference(ours, theirs) for theirs, ours in zip(*sides, strict=True))
    return same(found, 1e-5, "packed and padded batches")
