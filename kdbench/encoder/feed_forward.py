"""What the feed-forward blocks of a Hugging Face encoder give, before the residual and the norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from kdbench.kronecker.factorise import TARGETS


@contextmanager
def recorded(model: nn.Module, layers: frozenset[int]) -> Iterator[dict[int, Tensor]]:
    """Collect what the second maps of the blocks give in a forward pass, by layer (1, 2, ...).

    Layers are counted by their calls, so that one that is called several times is several layers. Nothing is hooked
    where no layer is asked for.
    """
    found: dict[int, Tensor] = {}
    calls = 0

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls in layers:
            found[calls] = output

    parts = model.named_modules() if layers else ()
    hooks = [part.register_forward_hook(keep) for name, part in parts if TARGETS["feed_forward_out"].search(name)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
