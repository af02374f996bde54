"""What a fused loss of vocabulary logits gains over naive PyTorch and over Liger's chunked loss: CPU time, peak memory.

30,522 words, a student's head of width 192 and a teacher's of 384, at so many positions: 15 % of 32 rows of 128
tokens, and half of all of them. The naive side has all logits of both models at once, softmax, `kl_div` or a squared
error, and autograd. Liger's side is `LigerFusedLinearJSDLoss` with beta 0, which is this divergence without its
factor T^2. It does without its compiler, of no use here, and takes chunks of its customary 1,024 positions, or of
256.

A call is a forward and a backward pass down to the head's inputs, its weight and its bias. Values and gradients are
first compared with float64.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.line import Line
from benchmarks.measure import cpu_seconds, difference, gain, in_turns, same
from benchmarks.memory import in_a_fresh_process, peak_bytes
from benchmarks.peer import HOW, peer
from kdbench.decoder import Decoder, Words
from kdbench.fused.word_distance import fused_distance
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse

VOCABULARY, TEMPERATURE = 30522, 15.0
CHUNKS = (1024, 256)
Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """A loss at so many positions, and how much faster, and how much smaller, it must be than the naive one."""

    loss: str
    positions: int
    gate: float | None = None
    memory_gate: float | None = None
    widths: tuple[int, int] = (192, 384)

    @property
    def what(self) -> str:
        name = "divergence" if self.loss == "kl" else "squared error"
        return f"{name} of vocabulary logits at {self.positions:,} positions"


CASES = (
    Case("kl", 2048, 1.7, 5.0),
    Case("kl", 608),
    Case("mse", 2048, 7.0, 5.0),
    Case("mse", 608),
)


class Heads:
    """The inputs, weights and biases of the two models' heads, as they are drawn: the student's ask for a gradient."""

    def __init__(self, case: Case, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(*shape, generator=generator)).to(dtype)

        ours, theirs = case.widths
        self.learned = (drawn(case.positions, ours), drawn(VOCABULARY, ours, scale=0.05), drawn(VOCABULARY, scale=0.02))
        self.taught = (
            drawn(case.positions, theirs),
            drawn(VOCABULARY, theirs, scale=0.05),
            drawn(VOCABULARY, scale=0.02),
        )
        for tensor in self.learned:
            tensor.requires_grad_()

    def words(self, side: Sequence[Tensor]) -> Words:
        inputs, weight, bias = side
        places = len(inputs)
        return Words(
            inputs, Decoder(weight, bias), torch.arange(places), inputs.new_full((places,), 1 / places), places
        )


def losses(case: Case, heads: Heads) -> dict[str, Loss]:
    """Every side as a function without arguments; the mean over the positions."""
    taught = heads.words(heads.taught)  # once: a teacher's products are kept from step to step
    objective = partial(kl, temperature=TEMPERATURE) if case.loss == "kl" else mse
    naive = naive_kl if case.loss == "kl" else naive_mse

    def fused() -> Tensor:
        return fused_distance(objective, heads.words(heads.learned), taught, torch.ones(0)).sum()

    found: dict[str, Loss] = {"naive": partial(naive, heads), "fused": fused}
    if case.loss == "kl" and (module := peer("liger_kernel.chunked_loss.jsd_loss")) is not None:
        for chunk in CHUNKS:
            options = {"weight_hard_loss": 0.0, "weight_soft_loss": 1.0, "beta": 0.0, "temperature": TEMPERATURE}
            liger = module.LigerFusedLinearJSDLoss(**options, compiled=False, chunk_size=chunk)
            found[f"Liger, chunks of {chunk:,}"] = partial(of_liger, liger, heads)
    return found


def naive_kl(heads: Heads) -> Tensor:
    student, teacher = (functional.linear(*side) / TEMPERATURE for side in (heads.learned, heads.taught))
    rows = functional.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").sum(dim=-1)
    return rows.mean() * TEMPERATURE**2


def naive_mse(heads: Heads) -> Tensor:
    student, teacher = (functional.linear(*side) for side in (heads.learned, heads.taught))
    return functional.mse_loss(student, teacher)


def of_liger(liger: Callable[..., Tensor], heads: Heads) -> Tensor:
    (inputs, weight, bias), (theirs, their_weight, their_bias) = heads.learned, heads.taught
    words = torch.zeros(len(inputs), dtype=torch.long)
    return TEMPERATURE**2 * liger(inputs, weight, theirs, their_weight, words, bias, their_bias)


def call(loss: Loss, heads: Heads) -> tuple[Tensor, ...]:
    """The loss and its gradients."""
    value = loss()
    return value.detach(), *torch.autograd.grad(value, heads.learned)


def exactness(case: Case) -> str:
    """Check every side against float64, and say how far the gradients are from it."""
    exact = call(losses(case, double := Heads(case, torch.float64))["naive"], double)
    errors = {}
    heads = Heads(case)
    for side, loss in losses(case, heads).items():
        found = call(loss, heads)
        errors[side] = max(difference(ours.double(), right) for ours, right in zip(found[1:], exact[1:], strict=True))
        same(difference(found[0].double(), exact[0]), 1e-3, f"{case.what}, {side}: value")
        same(errors[side], 1e-5, f"{case.what}, {side}: gradients")
    same(errors["fused"], 3 * errors["naive"], f"{case.what}: gradients beside naive float32")
    told = ", ".join(f"{side} {error:.0e}" for side, error in errors.items())
    return f"{case.what}: largest relative distance of a gradient from float64: {told}"


def lines(full: bool) -> list[Line]:
    rounds, processes = (9, 3) if full else (3, 1)
    return [line for case in CASES if full or case.gate for line in measured(case, rounds, processes)]


def measured(case: Case, rounds: int, processes: int) -> list[Line]:
    heads = Heads(case)
    ways = {side: partial(cpu_seconds, partial(call, loss, heads)) for side, loss in losses(case, heads).items()}
    times = in_turns(ways, rounds)
    place = CASES.index(case)
    peaks = {side: [in_a_fresh_process(peak, place, side) for _ in range(processes)] for side in ways}
    milliseconds = {side: 1000 * statistics.median(found) for side, found in times.items()}
    mebibytes = {side: statistics.median(found) / 2**20 for side, found in peaks.items()}
    note, name = exactness(case), "P8" if case.loss == "kl" else "P9"
    found = []
    for side in [side for side in ways if side != "fused"]:
        own = side == "naive"
        gates = (case.gate, case.memory_gate) if own else (1.0, 2.0) if case.gate else (None, None)
        base = "naive PyTorch" if own else side
        details = {"milliseconds_a_call": milliseconds, "peak_mebibytes": mebibytes}
        found += [
            Line(name, f"{case.what}: time", base, gain(times[side], times["fused"]), gates[0], note=note * own,
                 details=details),
            Line(name, f"{case.what}: peak memory, times less", base, gain(peaks[side], peaks["fused"]), gates[1]),
        ]  # fmt: skip
    if case.loss == "kl" and len(ways) == 2:
        found.append(Line(name, f"{case.what}: time", "Liger", None, 1.0, note=f"Liger: {HOW}"))
    return found


def peak(place: int, side: str) -> int:
    """Bytes of one call of that case, after one at a few positions."""
    case = CASES[place]
    few = replace(case, positions=8)
    heads = Heads(few)
    call(losses(few, heads)[side], heads)
    heads = Heads(case)
    return peak_bytes(partial(call, losses(case, heads)[side], heads))
