"""Products of a sequence of matrices: of all of them, and of every beginning.

A matrix product is associative, so that it may be taken in any order. On a CPU one step after the other is fastest,
forward and backward, as long as the sequence is cut into its matrices once: taking `matrices[:, i]` in a loop, as the
releases of Mai et al. 2019 and Galke et al. 2022 do, lets the backward pass write a tensor as large as the whole
sequence at every step, which is quadratic in the length. Elsewhere each step is a launch, and there are fewer of them
in a tree, ceil(log2 S), or in a scan over pieces, about 2 sqrt(S). `benchmarks/cmow.py` measures all three on a CPU;
that a GPU takes the tree and the scan rests on counting launches, and was not measured.

Products are made in float32 at least, under autocast too: half precision would lose its digits with every factor. So
a product of 512 differs from the same in float64 by less than 1e-5 of its norm, forward and backward, for matrices
I + N(0, 0.01^2) and by less than 1e-4 for I + N(0, 0.1^2), the two papers' beginnings, whose products stay in float32's
range (`tests/cmow/test_product.py`). Nothing is rescaled on the way: the product is the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from kdbench.masking import full_precision

Form = Callable[[Tensor, bool], Tensor]
"""Of (B, S, d, d), in order or, if so told, from the last factor back."""


def product(matrices: Tensor, back: bool = False) -> Tensor:
    """M_1 M_2 ... M_S of each row, or `back` from the last one, M_S ... M_1: (B, S, d, d) -> (B, d, d); S is at least
    1."""
    with full(matrices) as matrices:
        whole, _ = forms_on(matrices.device.type)
        return drawn(matrices, back)[0] if torch.compiler.is_exporting() else whole(matrices, back)


def prefixes(matrices: Tensor) -> Tensor:
    """The product of every beginning, M_1 ... M_i at place i: (B, S, d, d) -> (B, S, d, d)."""
    return _every(matrices, back=False)


def suffixes(matrices: Tensor) -> Tensor:
    """M_S M_{S-1} ... M_i at place i, the factors from the last one back: (B, S, d, d) -> (B, S, d, d)."""
    return _every(matrices, back=True)


def _every(matrices: Tensor, back: bool) -> Tensor:
    with full(matrices) as matrices:
        _, every = forms_on(matrices.device.type)
        return drawn(matrices, back)[1] if torch.compiler.is_exporting() else every(matrices, back)


def forms_on(device: str) -> tuple[Form, Form]:
    """How a type of device makes a whole product, and how the products of all beginnings."""
    return (last_of_loop, loop) if device == "cpu" else (tree, scan)


@contextmanager
def full(matrices: Tensor) -> Iterator[Tensor]:
    """The matrices in float32 at least, and no autocast, which would multiply them in half precision all the same."""
    with torch.autocast(matrices.device.type, enabled=False):
        yield full_precision(matrices)


def last_of_loop(matrices: Tensor, back: bool = False) -> Tensor:
    """`product`, one step after the other."""
    first, *others = _in_order(matrices, back)
    for other in others:
        first = torch.bmm(first, other)
    return first


def loop(matrices: Tensor, back: bool = False) -> Tensor:
    """`prefixes`, one step after the other; with `back`, `suffixes`."""
    first, *others = _in_order(matrices, back)
    found = [first]
    for other in others:
        found.append(torch.bmm(found[-1], other))
    return torch.stack(found[::-1] if back else found, dim=1)


def _in_order(matrices: Tensor, back: bool) -> tuple[Tensor, ...]:
    ahead: tuple[Tensor, ...] = matrices.unbind(1)
    return ahead[::-1] if back else ahead


def tree(matrices: Tensor, back: bool = False) -> Tensor:
    """`product`, neighbours first, in ceil(log2 S) levels."""
    if back:
        matrices = matrices.flip(1)
    one = neutral(matrices)
    while matrices.shape[1] > 1:
        # One more factor gives an odd sequence its last partner, and of an even one it is left over.
        matrices = torch.matmul(matrices[:, 0::2], torch.cat([matrices, one], dim=1)[:, 1::2])
    return matrices[:, 0]


def scan(matrices: Tensor, back: bool = False) -> Tensor:
    """`prefixes` in pieces of about sqrt(S): inside all pieces at once, then over the pieces, then both together; with
    `back`, `suffixes`."""
    if back:
        return scan(matrices.flip(1)).flip(1)
    rows, length, side, _ = matrices.shape
    piece = math.isqrt(length - 1) + 1
    missing = -length % piece
    whole = torch.cat([matrices, neutral(matrices).expand(rows, missing, side, side)], dim=1)
    inside = loop(whole.reshape(-1, piece, side, side)).view(rows, -1, piece, side, side)
    before = torch.cat([neutral(matrices), loop(inside[:, :, -1])[:, :-1]], dim=1)
    found = torch.matmul(before[:, :, None], inside).flatten(1, 2)
    return found[:, :length]


def drawn(matrices: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
    """`product` and `prefixes`, with `back` `suffixes`, in a graph that is exported: it does not know how many factors
    there will be, so that one step is drawn once, and repeated by whatever runs the graph."""
    from torch._higher_order_ops import scan as repeated  # torch has no public name for it yet

    def step(before: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        now = torch.bmm(before, factor)
        return now, now.clone()

    first = neutral(matrices)[:, 0].clone()
    last, every = repeated(step, first, matrices.transpose(0, 1), reverse=back)
    return last, every.transpose(0, 1)


def neutral(matrices: Tensor) -> Tensor:
    """A factor that changes nothing, for each row: (B, 1, d, d)."""
    side = matrices.shape[-1]
    return torch.eye(side, dtype=matrices.dtype, device=matrices.device).expand(len(matrices), 1, side, side)
