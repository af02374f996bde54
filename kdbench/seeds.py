"""Random numbers that belong to one purpose each, so that nothing a run adds shifts what another part draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str) -> int:
    """A seed for one purpose (`weights`, `dropout`, `projection`, a term's name) of a run's seed."""
    digest = hashlib.sha256("/".join((str(seed), *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def drawing(seed: int, *purpose: str) -> Iterator[None]:
    """torch's global generator at a derived seed inside the block, and as it was after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *purpose))
        yield
