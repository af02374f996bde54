"""What padding costs, and what is left of that with batches of like length and with models that leave padding out.

    python benchmarks/padding.py --quick|--full [--out padding.json]

Rows of random tokens whose lengths follow three laws: lognormal like SST-2's training phrases (mean 15, longest 66),
normal like SST-2's validation sentences (mean 25), lognormal like MNLI's pairs (mean 39, cut at 128). The batches of 32
are those of the engine. First their padded places per real token, over 64,000 rows. Then the CPU time per real token of
whole steps (frozen teacher L6/H384, student L3/H192 with dropout, six losses, backward, clipping, fused AdamW) of three
ways: `dynamic` (random batches, padded to their longest row), `grouped`, and `unpadded` (the same batches as `dynamic`,
run on their real tokens). One process, one thread, the ways in turns whose order alternates; a round gives one ratio,
and the median of the rounds is shown with their range. Losses and gradients of packed batches are first checked to be
those of padded ones.

Gates, of the two laws of training rows: grouped batches have at most 1.06 places a token and take steps at least 1.9
times as fast as dynamic ones, unpadded ones at least 1.6 times; --quick asks half of each gain.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_overhead import Plain, bert, six_terms
from torch import nn

from kdbench.data.batch import Batch, batch_plan, packed
from kdbench.data.split import Split
from kdbench.module.training import BatchStream, Training
from kdbench.quiet import quiet_libraries

ROWS, COUNTED_ROWS = 1600, 64_000  # 50 batches, which grouped batching sorts together; and enough for steady shares
TRAINING = Training(1, None, 32, 1, 1.0, "exact", False, 1, None, "last", 10**9, 25)
WAYS = {
    "dynamic": TRAINING,
    "grouped": replace(TRAINING, batching="grouped"),
    "unpadded": replace(TRAINING, unpadded=True),
}
TEACHER, STUDENT = (6, 384), (3, 192)
LARGEST_SHARE, GATES = 1.06, {"grouped": 1.9, "unpadded": 1.6}


@dataclass(frozen=True)
class Law:
    """Lengths of rows: a distribution with this mean and spread (of the logarithm, if lognormal), cut at `most`."""

    kind: str
    mean: float
    spread: float
    most: int
    trains: bool

    def lengths(self, rows: int) -> np.ndarray:
        random = np.random.default_rng(0)
        if self.kind == "normal":
            drawn = random.normal(self.mean, self.spread, rows)
        else:
            drawn = random.lognormal(np.log(self.mean) - self.spread**2 / 2, self.spread, rows)
        return np.clip(np.rint(drawn), 3, self.most).astype(np.int64)


LAWS = {
    "SST-2 train": Law("lognormal", 15.3, 0.68, 66, True),
    "SST-2 validation": Law("normal", 25.0, 11.0, 66, False),
    "MNLI": Law("lognormal", 39.1, 0.48, 128, True),
}


@dataclass(frozen=True)
class Effort:
    """How much is measured: one of so many of the 50 batches, in so many rounds."""

    every: int
    rounds: int


EFFORTS = {"quick": Effort(10, 2), "full": Effort(5, 5)}


def rows_of(lengths: np.ndarray) -> Split:
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(1000, 30000, size=int(offsets[-1])).astype(np.int32)
    labels, index = random.integers(0, 2, size=len(lengths)), np.arange(len(lengths))
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, labels, index)


def share(lengths: np.ndarray, batching: str) -> float:
    """Padded places per real token."""
    plan = batch_plan(lengths, TRAINING.batch_size, 1, 0, batching)
    return sum(int(lengths[rows].max()) * len(rows) for rows in plan) / int(lengths.sum())


def thinned(batches: list[Batch], every: int) -> list[Batch]:
    """One of so many batches, from the shortest to the longest, so that few stand for all."""
    return sorted(batches, key=tokens)[every // 2 :: every]


def tokens(batch: Batch) -> int:
    return int(batch.attention_mask.sum())


def made(dropout: bool = True) -> Plain:
    ours, teacher = bert(STUDENT, 1), bert(TEACHER, 2)
    teacher.requires_grad_(False)
    if not dropout:
        for part in ours.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    return Plain(ours, teacher, six_terms(ours, teacher))


def step(side: Plain, batch: Batch) -> None:
    sum(side.losses(batch)).backward()  # type: ignore[union-attr]
    nn.utils.clip_grad_norm_(side.learned, 1.0)
    side.optimizer.step()
    side.optimizer.zero_grad()


def seconds(work: Callable[[Batch], object], batches: list[Batch]) -> float:
    """CPU seconds per real token."""
    start = time.process_time()
    for batch in batches:
        work(batch)
    return (time.process_time() - start) / sum(map(tokens, batches))


def in_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way measures in each round, the order of the ways alternating; a round before them is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            found[name].append(ways[name]())
    return {name: values[1:] for name, values in found.items()}


def gains(found: dict[str, list[float]], base: str) -> dict[str, tuple[float, float, float]]:
    """Median, least and greatest of how many times as fast as the base each other way was, round by round."""
    ratios = {
        name: [theirs / ours for theirs, ours in zip(found[base], values, strict=True)]
        for name, values in found.items()
        if name != base
    }
    return {name: (statistics.median(values), min(values), max(values)) for name, values in ratios.items()}


def difference(batch: Batch) -> float:
    """The largest relative difference of losses and gradients, packed against padded; refuses more than float noise."""
    sides = []
    for form in (batch, packed(batch)):
        side = made(dropout=False)
        losses = side.losses(form)
        sum(losses).backward()  # type: ignore[union-attr]
        gradient = torch.cat([weight.grad.flatten() for weight in side.learned if weight.grad is not None])
        sides.append((torch.stack(losses).detach(), gradient))
    found = max(float((ours - theirs).norm() / theirs.norm()) for theirs, ours in zip(*sides, strict=True))
    assert found < 1e-5, f"packed and padded batches give different results: {found}"
    return found


def of_law(name: str, effort: Effort) -> dict[str, Any]:
    law = LAWS[name]
    lengths, split = law.lengths(COUNTED_ROWS), rows_of(law.lengths(ROWS))
    batches = {way: thinned(list(BatchStream(split, training, 1, 0)), effort.every) for way, training in WAYS.items()}
    equal = difference(batches["dynamic"][0])
    sides = {way: made() for way in WAYS}
    found = in_turns(
        {way: lambda way=way: seconds(lambda batch: step(sides[way], batch), batches[way]) for way in WAYS},
        effort.rounds,
    )
    return {
        "law": name,
        "mean": float(lengths.mean()),
        "shares": {
            "pad 128": 128 * len(lengths) / int(lengths.sum()),
            "dynamic": share(lengths, "exact"),
            "grouped": share(lengths, "grouped"),
        },
        "gains": gains(found, "dynamic"),
        "difference": equal,
        "microseconds_per_token": {way: 1e6 * statistics.median(values) for way, values in found.items()},
    }


def missed_gates(row: dict[str, Any], quick: bool) -> list[str]:
    """What a law's row falls short of, in words."""
    if not LAWS[row["law"]].trains:
        return []
    missed = []
    if row["shares"]["grouped"] > LARGEST_SHARE:
        missed.append(f"{row['law']}: grouped has {row['shares']['grouped']:.3f} places a token, not {LARGEST_SHARE}")
    for way, gate in GATES.items():
        asked = 1 + (gate - 1) / 2 if quick else gate
        if row["gains"][way][0] < asked:
            missed.append(f"{row['law']}: {way} is {row['gains'][way][0]:.2f} times as fast, not {asked:g}")
    return missed


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| lengths like | mean | places a token: pad 128; dynamic; grouped | grouped against dynamic | "
        "unpadded against dynamic |",
        "|---|--:|---|--:|--:|",
    ]
    for row in rows:
        shares = "; ".join(f"{value:.2f}" for value in row["shares"].values())
        cells = [f"{middle:.2f}x ({least:.2f} to {most:.2f})" for middle, least, most in row["gains"].values()]
        lines.append(f"| {row['law']} | {row['mean']:.1f} | {shares} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    effort = parser.add_mutually_exclusive_group(required=True)
    for name in EFFORTS:
        effort.add_argument(f"--{name}", dest="effort", action="store_const", const=name)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    rows = [of_law(name, EFFORTS[options.effort]) for name in LAWS]
    print(table(rows))
    print(f"\nlargest difference of losses and gradients: {max(row['difference'] for row in rows):.1e}")
    missed = [found for row in rows for found in missed_gates(row, options.effort == "quick")]
    if options.out is not None:
        report = {"effort": options.effort, "rows": rows, "missed": missed}
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
