"""What a matrix embedding gains over the way its papers' code multiplies, and over a transformer: CPU time.

*As released* takes one matrix after the other out of the whole sequence, `matrices[:, i]`, in a loop for each
direction, as the code of Mai et al. 2019 and Galke et al. 2022 does; it is written anew here. A call makes the states
of all tokens, both ways, of 32 rows, and with *training* a backward pass down to the matrices. Encoders are compared
without heads and without padding, random weights: the bidirectional hybrid (d 20, e 400) and DistilBERT's shape (6
layers, width 768). The forms that `kdbench.cmow.product` has for other devices, a scan and a tree, are shown beside the
loop that it takes here. All ways of multiplying are first checked to compute the same, values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmarks.line import Line
from benchmarks.measure import Spread, cpu_seconds, difference, gain, in_turns, same
from kdbench.cmow.encoder import MatrixEncoder, Tables
from kdbench.cmow.layout import Layout
from kdbench.cmow.product import prefixes, product, scan, suffixes, tree

Products = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
Work = Literal["inference", "training"]
ROWS = 32
PRODUCTS = {(20, 64): 2.1, (20, 128): 3.6, (28, 128): 5.5, (20, 512): None}
"""The gates by d and length; the last is shown."""
LENGTH, BATCHES = 64, {1: None, 32: 100.0}
WORDS = 30_522


def as_released(ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """The products of every beginning, and of every end from the last factor back, by indexing."""
    length = ahead.shape[1]
    there, home = [ahead[:, 0]], [back[:, length - 1]]
    for place in range(1, length):
        there.append(torch.bmm(there[-1], ahead[:, place]))
    for place in range(length - 2, -1, -1):
        home.append(torch.bmm(home[-1], back[:, place]))
    return torch.stack(there, dim=1), torch.stack(home[::-1], dim=1)


def ours(ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return prefixes(ahead), suffixes(back)


def scanned(ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return scan(ahead), scan(back, back=True)


def pooled(ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return product(ahead), product(back, back=True)


def paired_up(ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return tree(ahead), tree(back, back=True)


FORMS: dict[str, tuple[Products, Products]] = {"states": (scanned, ours), "whole products": (paired_up, pooled)}
"""By what is computed: the form for other devices, and the one that a CPU takes."""


def call(function: Products, matrices: tuple[Tensor, Tensor], work: Work) -> tuple[Tensor, ...]:
    """The products, and after training the gradients too."""
    if work == "inference":
        with torch.inference_mode():
            return function(*matrices)
    learned = [each.requires_grad_() for each in matrices]
    found = function(*matrices)
    torch.autograd.backward(found, [torch.ones_like(each) for each in found])
    gradients = [each.grad for each in learned if each.grad is not None]
    for each in learned:
        each.grad = None
    return (*(each.detach() for each in found), *gradients)


def lines(full: bool) -> list[Line]:
    rounds = 9 if full else 3
    found = [line for (side, length), gate in PRODUCTS.items() if full or gate is not None
             for line in products(side, length, gate, rounds)]  # fmt: skip
    found += [line for length in (64, 512) if full for what in FORMS for line in forms(what, 20, length, rounds)]
    return found + [line for rows, gate in BATCHES.items() for line in encoders(rows, gate, rounds)]


def products(side: int, length: int, gate: float | None, rounds: int) -> list[Line]:
    gains = timed(as_released, ours, side, length, rounds)
    what = f"states of {ROWS} x {length} tokens, both ways, d {side}"
    return [
        Line("P12", f"{what}: {work}", "as released", found, gate if work == "training" else None)
        for work, found in gains.items()
    ]


def forms(what: str, side: int, length: int, rounds: int) -> list[Line]:
    """The loop against the form that another device would take."""
    peer, taken = FORMS[what]
    gains = timed(peer, taken, side, length, rounds)
    said = f"{what} of {ROWS} x {length} tokens, both ways, d {side}, one step after the other"
    return [Line("P12", f"{said}: {work}", "scan" if peer is scanned else "tree", found, None)
            for work, found in gains.items()]  # fmt: skip


def timed(peer: Products, taken: Products, side: int, length: int, rounds: int) -> dict[Work, Spread]:
    """How many times as fast one way of multiplying is as its peer, which is first seen to compute the same."""
    torch.manual_seed(0)
    noise = torch.randn(2, ROWS, length, side, side)
    ahead, back = (torch.eye(side) + 0.01 * noise).unbind(0)
    said = [call(way, (ahead, back), "training") for way in (peer, taken)]
    for theirs, mine in zip(*said, strict=True):
        same(difference(mine, theirs), 1e-5, f"products of {length} matrices of width {side}")
    found: dict[Work, Spread] = {}
    works: tuple[Work, ...] = ("training", "inference")
    for work in works:
        ways = {"peer": peer, "taken": taken}
        seconds = in_turns(
            {name: partial(cpu_seconds, partial(call, way, (ahead, back), work)) for name, way in ways.items()}, rounds
        )
        found[work] = gain(seconds["peer"], seconds["taken"])
    return found


def encoders(rows: int, gate: float | None, rounds: int) -> list[Line]:
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    transformer = DistilBertModel(DistilBertConfig()).eval()
    matrices = MatrixEncoder(Layout(400, 20, True), Tables(WORDS, 0)).eval()
    ids = torch.randint(1, WORDS, (rows, LENGTH))
    mask = torch.ones_like(ids)

    def repeatedly(work: Callable[[], object], times: int) -> float:
        def repeated() -> None:
            with torch.inference_mode():
                for _ in range(times):
                    work()

        return cpu_seconds(repeated) / times

    ways = {
        "DistilBERT": partial(repeatedly, lambda: transformer(input_ids=ids, attention_mask=mask), 1),
        "pooled": partial(repeatedly, lambda: matrices(ids, mask.bool()), 20),
        "states": partial(repeatedly, lambda: matrices.states(ids, mask.bool()), 20),
    }
    for way in ways.values():
        way()
    seconds = in_turns(ways, rounds)
    details = {"milliseconds": {name: 1000 * sorted(each)[len(each) // 2] for name, each in seconds.items()}}
    what = f"encoding {rows} x {LENGTH} tokens, bidirectional hybrid"
    gains = {name: gain(seconds["DistilBERT"], seconds[name]) for name in ("pooled", "states")}
    return [
        Line("P12", f"{what}, {name}", "DistilBERT's shape", found, gate, details=details)
        for name, found in gains.items()
    ]  # fmt: skip
