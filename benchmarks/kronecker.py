"""What a factored map gains over a dense one and over making its matrix at every call: CPU time, both directions.

The maps of KroneckerBERT_8 and KroneckerBERT_21 (Tahaei et al. 2022, table 1) for BERT-base at 64 and at 2,048 tokens.
*Multiplied out* makes the matrix at every call and does as the dense map does. A call is a forward pass, or one with a
backward pass down to inputs, weights and bias. All sides are first checked to compute the same.
Memory that a call has freed is kept for the next one, as in a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.line import Line
from benchmarks.measure import cpu_seconds, difference, gain, in_turns, same
from benchmarks.memory import in_a_fresh_process
from kdbench.kronecker.factors import Factors
from kdbench.kronecker.linear import KroneckerLinear

Work = Literal["inference", "training"]


@dataclass(frozen=True)
class Case:
    """A map (m, n) with the shape of its first factor, and how much faster than dense it must be at 2,048 tokens."""

    name: str
    matrix: tuple[int, int]
    first: tuple[int, int]
    gate: float

    @property
    def factors(self) -> Factors:
        return Factors.of(self.name, self.matrix, self.first)


CASES = (
    Case("kb8 attention", (768, 768), (384, 384), 1.0),
    Case("kb8 feed-forward, first", (3072, 768), (8, 2), 1.0),
    Case("kb8 feed-forward, second", (768, 3072), (2, 8), 1.0),
    Case("kb21 attention", (768, 768), (384, 48), 4.0),
    Case("kb21 feed-forward, first", (3072, 768), (16, 2), 4.0),
    Case("kb21 feed-forward, second", (768, 3072), (2, 16), 4.0),
)
TOKENS = (64, 2048)
LEAST_SECONDS = 0.2  # of the calls of one round


class MultipliedOut(nn.Module):
    """The same map, whose matrix is made at every call."""

    def __init__(self, factored: KroneckerLinear) -> None:
        super().__init__()
        self.factored = factored

    def forward(self, values: Tensor) -> Tensor:
        return functional.linear(values, self.factored.matrix(), self.factored.bias)


def sides(case: Case) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    factored = KroneckerLinear(case.factors)
    dense = nn.Linear(case.matrix[1], case.matrix[0])
    with torch.no_grad():
        dense.weight.copy_(factored.matrix())
        dense.bias.zero_()
    return {"dense": dense, "multiplied out": MultipliedOut(factored), "factored": factored}


def call(module: nn.Module, values: Tensor, work: Work) -> Tensor:
    if work == "inference":
        with torch.inference_mode():
            return module(values)  # type: ignore[no-any-return]
    found: Tensor = module(values)
    torch.autograd.backward(found, torch.ones_like(found))
    values.grad = None
    module.zero_grad()
    return found.detach()


def repeated(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def lines(full: bool) -> list[Line]:
    return in_a_fresh_process(all_lines, full, keeping_memory=True)


def all_lines(full: bool) -> list[Line]:
    rounds = 9 if full else 3
    tokens = TOKENS if full else TOKENS[1:]
    return [line for case in CASES for number in tokens for work in ("inference", "training")
            for line in measured(case, number, work, rounds)]  # fmt: skip


def measured(case: Case, tokens: int, work: Work, rounds: int) -> list[Line]:
    values = torch.randn(tokens, case.matrix[1], requires_grad=work == "training")
    modules = sides(case)
    expected = call(modules["dense"], values, work)
    for name, module in modules.items():
        same(difference(call(module, values, work), expected), 1e-4, f"{case.name}, {name}")
    calls = {name: partial(call, module, values, work) for name, module in modules.items()}
    once = {name: max(min(cpu_seconds(way) for _ in range(3)), 1e-6) for name, way in calls.items()}
    times = {name: max(1, round(LEAST_SECONDS / seconds)) for name, seconds in once.items()}

    def a_call(name: str) -> float:
        return cpu_seconds(partial(repeated, calls[name], times[name])) / times[name]

    found = in_turns({name: partial(a_call, name) for name in calls}, rounds)
    milliseconds = {name: 1000 * sorted(values)[len(values) // 2] for name, values in found.items()}
    what = f"{case.name}, {tokens:,} tokens: {work}"
    gate = case.gate if tokens == TOKENS[1] else 1.0
    details = {"milliseconds_a_call": milliseconds}
    return [
        Line("P11", what, "dense", gain(found["dense"], found["factored"]), gate, details=details),
        Line("P11", what, "multiplied out", gain(found["multiplied out"], found["factored"]), None),
    ]
