"""What fused relation and Gram losses gain over naive PyTorch: CPU time and peak memory (P10 of the goals).

    python benchmarks/relation_loss.py [--quick | --full] [--case heads12_ragged] [--out relation_loss.json]

Relations are those of MiniLM, 32 rows, a student of width 192 and a teacher of width 384. The naive side is what GLMKD
and most hand-written code does: padded scores of the whole batch, softmax and log-softmax, `kl_div`, autograd. Keys
that are padding are masked here, which GLMKD leaves out, so that both sides compute one loss; full batches get no mask.
Of Gram matrices the naive side is the loss as it is written: the matrices and their mean squared error.

A call is a forward and a backward pass down to the hidden vectors. Values and gradients are first checked to be equal.
Then the sides run in turns in one process on one thread; times are `time.process_time`, a ratio is that of a round, and
the median of the rounds is told with their range. The kernel's share of them is told too: large tensors come as fresh
pages, whose clearing another memory allocator might spare. Peak memory is that of one call in a process of its own,
above the level after the inputs were built and a call on two short rows had loaded the libraries' buffers; the median
of three processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdbench.knowledge.base import Knowledge
from kdbench.knowledge.gram_features import GramFeatures
from kdbench.knowledge.gram_tokens import GramTokens
from kdbench.knowledge.relation import Relation
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse

ROWS = 32
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A knowledge, the widths of the two sides, the shortest and the longest row, and what must hold of it."""

    knowledge: Knowledge
    widths: tuple[int, int]
    lengths: tuple[int, int]
    gate: float | None = None
    memory_gate: float | None = None


def relations(heads: int, lengths: tuple[int, int], *gates: float) -> Case:
    return Case(Relation("value", heads), (192, 384), lengths, *gates)


CASES = {
    "heads12_ragged": relations(12, (32, 128), 3.5, 6.0),
    "heads48_full": relations(48, (128, 128), 4.0, 6.0),
    "heads12_full": relations(12, (128, 128)),
    "heads48_ragged": relations(48, (32, 128)),
    "heads12_sentences": relations(12, (5, 30)),
    "gram_features_ragged": Case(GramFeatures(), (384, 384), (32, 128)),
    "gram_features_sentences": Case(GramFeatures(), (384, 384), (5, 30)),
    "gram_tokens_narrow": Case(GramTokens(), (32, 32), (32, 128)),
}


def inputs(case: Case, rows: int = ROWS, longest: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The student's and the teacher's hidden vectors, (rows, S, D), and the tokens; the longest row is there."""
    generator = torch.Generator().manual_seed(0)
    low, high = case.lengths if longest is None else (longest, longest)
    lengths = torch.randint(low, high + 1, (rows,), generator=generator)
    lengths[0] = high
    student, teacher = (torch.randn(rows, high, width, generator=generator) for width in case.widths)
    return student.requires_grad_(), teacher, torch.arange(high)[None] < lengths[:, None]


def heads_of(values: Tensor, heads: int) -> Tensor:
    batch, tokens, width = values.shape
    return values.reshape(batch, tokens, heads, width // heads).transpose(1, 2)


def naive_relations(heads: int, tokens: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """By the book: (B,)."""
    scores = []
    for side in (student, teacher):
        vectors = heads_of(side, heads)
        found = vectors @ vectors.transpose(-1, -2) / vectors.shape[-1] ** 0.5
        if not bool(tokens.all()):
            found = found.masked_fill(~tokens[:, None, None, :], torch.finfo(found.dtype).min)
        scores.append(found)
    target = functional.softmax(scores[1], dim=-1)
    loss = functional.kl_div(functional.log_softmax(scores[0], dim=-1), target, reduction="none").sum(dim=-1)
    return (loss * tokens[:, None]).sum(dim=(1, 2)) / (heads * tokens.sum(dim=1))


def losses(case: Case, tokens: Tensor) -> dict[str, Loss]:
    """Each side as a function of the two sides' hidden vectors."""
    knowledge = case.knowledge
    heads = knowledge.heads if isinstance(knowledge, Relation) else 0
    objective = kl if heads else mse
    fused, written = knowledge.fused(objective), partial(knowledge.distance, objective)
    assert fused is not None and isinstance(heads, int)

    def of(distance: Callable[..., Tensor]) -> Loss:
        read = partial(heads_of, heads=heads) if heads else torch.nn.Identity()
        return lambda student, teacher: distance(read(student), read(teacher), tokens)

    if not heads:
        return {"naive": of(written), "fused": of(fused)}
    naive = partial(naive_relations, heads, tokens)
    return {"naive": naive, "written": of(written), "fused": of(fused)}


def call(loss: Loss, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The losses and the gradient of their mean."""
    values = loss(student, teacher)
    (gradient,) = torch.autograd.grad(values.mean(), student)
    return values.detach(), gradient


def check_equal(case: Case) -> float:
    """The largest relative difference of a value or of a whole gradient; refuses more than float32's noise."""
    student, teacher, tokens = inputs(case)
    sides = losses(case, tokens)
    expected = [part.double() for part in call(sides["naive"], student, teacher)]
    differences = []
    for name in [name for name in sides if name != "naive"]:
        values, gradient = call(sides[name], student, teacher)
        differences.append(float(((values - expected[0]) / expected[0]).abs().max()))
        differences.append(float((gradient - expected[1]).norm() / expected[1].norm()))
    assert max(differences) < 1e-4, f"the sides compute different losses: {differences}"
    return max(differences)


def seconds(loss: Loss, student: Tensor, teacher: Tensor, calls: int) -> tuple[float, float]:
    """CPU seconds a call, and how many of them the kernel's."""
    began, kernel = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
    for _ in range(calls):
        call(loss, student, teacher)
    ended = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    return (time.process_time() - began) / calls, (ended - kernel) / calls


def times(case: Case, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The seconds of each side in each round; the order of the sides turns with the rounds."""
    student, teacher, tokens = inputs(case)
    sides = losses(case, tokens)
    calls = {name: max(1, round(0.15 / seconds(loss, student, teacher, 2)[0])) for name, loss in sides.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(rounds):
        first = turn % len(sides)
        for name in [*sides][first:] + [*sides][:first]:
            found[name].append(seconds(sides[name], student, teacher, calls[name]))
    return found


def peak_bytes(case: Case, side: str) -> int:
    """Of one call, above the level before it; the high-water mark is the kernel's (Linux)."""
    *few, tokens = inputs(case, rows=2, longest=8)
    call(losses(case, tokens)[side], *few)
    *sides, tokens = inputs(case)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _high_water()
    call(losses(case, tokens)[side], *sides)
    return _high_water() - before


def elsewhere(name: str, side: str) -> int:
    """`peak_bytes` in a fresh process."""
    return int(subprocess.check_output([sys.executable, __file__, "--peak", name, side], text=True))


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def measure(name: str, rounds: int, processes: int) -> dict[str, Any]:
    case = CASES[name]
    difference = check_equal(case)
    found = times(case, rounds)
    peaks = {side: statistics.median(elsewhere(name, side) for _ in range(processes)) for side in found}
    ratios = [naive[0] / fused[0] for naive, fused in zip(found["naive"], found["fused"], strict=True)]
    return {
        "case": name,
        "milliseconds_and_kernel": {
            side: [1000 * statistics.median(each) for each in zip(*values, strict=True)]
            for side, values in found.items()
        },
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "gate": case.gate,
        "peak_bytes": peaks,
        "memory_ratio": peaks["naive"] / peaks["fused"],
        "memory_gate": case.memory_gate,
        "difference": difference,
        "rounds": rounds,
    }


def printed(row: dict[str, Any]) -> str:
    def gate(value: float | None, ratio: float) -> str:
        return "" if value is None else f" (gate {value:g}: {'met' if ratio >= value else 'MISSED'})"

    ms, peak, (low, high) = row["milliseconds_and_kernel"], row["peak_bytes"], row["ratio_range"]
    cells = [
        row["case"],
        *(f"{ms[side][0]:.1f} ({ms[side][1]:.1f})" if side in ms else "" for side in ("naive", "written", "fused")),
        f"{row['ratio']:.1f} ({low:.1f} to {high:.1f}){gate(row['gate'], row['ratio'])}",
        *(f"{peak[side] / 2**20:.0f}" for side in ("naive", "fused")),
        f"{row['memory_ratio']:.0f}{gate(row['memory_gate'], row['memory_ratio'])}",
        f"{row['difference']:.0e}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="3 rounds and 1 process for the memory")
    parser.add_argument("--full", action="store_true", help="11 rounds and 3 processes, as without it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak_bytes(CASES[options.peak[0]], options.peak[1]))
        return
    print(
        "| case | naive, ms (kernel) | as written, ms | fused, ms | naive / fused | naive, MiB | fused, MiB | ratio "
        "| difference |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    rows: list[dict[str, Any]] = []
    for name in CASES if options.case == "all" else [options.case]:
        rows.append(measure(name, *((3, 1) if options.quick else (11, 3))))
        print(printed(rows[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
