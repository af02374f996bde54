"""What fused relation and Gram losses gain over naive PyTorch: CPU time and peak memory.

Relations are those of MiniLM, 32 rows, a student of width 192 and a teacher of width 384. The naive side is what GLMKD
and most hand-written code does: padded scores of the whole batch, softmax and log-softmax, `kl_div`, autograd. Keys
that are padding are masked here, which GLMKD leaves out, so that both sides compute one loss; full batches get no mask.
Of Gram matrices the naive side is the loss as it is written: the matrices and their mean squared error.

A call is a forward and a backward pass down to the hidden vectors. Values and gradients are first checked to be equal.
The kernel's share of the CPU time is told too: large tensors come as fresh pages, whose clearing another memory
allocator might spare. Peak memory is that of one call in a process of its own, above the level after the inputs were
built and a call on two short rows had loaded the libraries' buffers (Linux only).
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.line import Line
from benchmarks.measure import difference, gain, in_turns, same, spread
from benchmarks.memory import in_a_fresh_process, peak_bytes
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

    what: str
    knowledge: Knowledge
    widths: tuple[int, int]
    lengths: tuple[int, int]
    gate: float | None = None
    memory_gate: float | None = None


def relations(heads: int, lengths: tuple[int, int], *gates: float) -> Case:
    return Case(f"value relations in {heads} heads", Relation("value", heads), (192, 384), lengths, *gates)


RAGGED, EQUAL, SENTENCES = (32, 128), (128, 128), (5, 30)
CASES = (
    relations(12, RAGGED, 3.5, 6.0),
    relations(48, EQUAL, 4.0, 6.0),
    relations(12, EQUAL),
    relations(48, RAGGED),
    relations(12, SENTENCES),
    Case("Gram over features of width 384", GramFeatures(), (384, 384), RAGGED),
    Case("Gram over features of width 384", GramFeatures(), (384, 384), SENTENCES),
    Case("Gram over tokens of width 32", GramTokens(), (32, 32), RAGGED),
)


def lines(full: bool) -> list[Line]:
    rounds, processes = (11, 3) if full else (3, 1)
    return [line for case in CASES if full or case.gate for line in measured(case, rounds, processes)]


def measured(case: Case, rounds: int, processes: int) -> list[Line]:
    low, high = case.lengths
    what = f"{case.what}, rows of {high if low == high else f'{low} to {high}'} tokens"
    note = f"{what}: largest relative difference {equal(case):.0e}"
    found = times(case, rounds)
    cpu = {side: [call[0] for call in calls] for side, calls in found.items()}
    parts = {side: [spread(part)[0] for part in zip(*calls, strict=True)] for side, calls in found.items()}
    told = {side: {"all": 1000 * each[0], "kernel": 1000 * each[1]} for side, each in parts.items()}
    place = CASES.index(case)
    peaks = {side: [in_a_fresh_process(peak, place, side) for _ in range(processes)] for side in ("naive", "fused")}
    megabytes = {side: statistics.median(values) / 2**20 for side, values in peaks.items()}
    naive = "naive PyTorch" if "written" in found else "as written"
    return [
        Line(
            "P10",
            f"{what}: time",
            naive,
            gain(cpu["naive"], cpu["fused"]),
            case.gate,
            note=note,
            details={"milliseconds_a_call": told},
        ),
        Line(
            "P10",
            f"{what}: peak memory, times less",
            naive,
            gain(peaks["naive"], peaks["fused"]),
            case.memory_gate,
            details={"peak_mebibytes": megabytes},
        ),
    ]


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


def equal(case: Case) -> float:
    """The largest relative difference of a value or of a whole gradient; refuses more than float32's noise."""
    student, teacher, tokens = inputs(case)
    sides = losses(case, tokens)
    values, gradient = call(sides["naive"], student, teacher)
    found = []
    for side in set(sides) - {"naive"}:
        other, arrived = call(sides[side], student, teacher)
        found += [float(((other - values) / values).abs().max()), difference(arrived.double(), gradient.double())]
    return same(max(found), 1e-4, case.what)


def seconds(loss: Loss, student: Tensor, teacher: Tensor, calls: int) -> tuple[float, float]:
    """CPU seconds a call, and how many of them the kernel's."""
    began, kernel = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
    for _ in range(calls):
        call(loss, student, teacher)
    ended = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    return (time.process_time() - began) / calls, (ended - kernel) / calls


def times(case: Case, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The seconds of each side in each round."""
    student, teacher, tokens = inputs(case)
    sides = losses(case, tokens)
    calls = {side: max(1, round(0.15 / seconds(loss, student, teacher, 2)[0])) for side, loss in sides.items()}
    ways = {side: partial(seconds, loss, student, teacher, calls[side]) for side, loss in sides.items()}
    return in_turns(ways, rounds)


def peak(place: int, side: str) -> int:
    """Bytes of one call of that case, after one on two short rows."""
    case = CASES[place]
    *few, tokens = inputs(case, rows=2, longest=8)
    call(losses(case, tokens)[side], *few)
    *sides, tokens = inputs(case)
    return peak_bytes(partial(call, losses(case, tokens)[side], *sides))
