"""What the tests of knowledge share: random outputs of a model, and comparing two of them along one knowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdbench.knowledge.base import Knowledge
from kdbench.outputs import ModelOutputs

LENGTHS = (5, 3, 1)
LAYERS = (0, 1, 2)


def states(hidden: Mapping[int, Tensor], mask: Tensor) -> dict[str, Mapping[int, Tensor]]:
    """Hidden states as the fields of `ModelOutputs`: whole, their first token, and the mean of their real tokens."""
    lengths = mask.sum(dim=1).tolist()
    means = {
        layer: torch.stack([row[:length].mean(dim=0) for row, length in zip(values, lengths, strict=True)])
        for layer, values in hidden.items()
    }
    return {"hidden": hidden, "cls": {layer: values[:, 0] for layer, values in hidden.items()}, "mean": means}


@pytest.fixture(scope="session")
def restated() -> Callable[..., ModelOutputs]:
    """The same outputs with other hidden states."""

    def changed(side: ModelOutputs, hidden: Mapping[int, Tensor], mask: Tensor | None = None) -> ModelOutputs:
        mask = side.mask if mask is None else mask
        return replace(side, mask=mask, **states(hidden, mask))

    return changed


@pytest.fixture(scope="session")
def outputs() -> Callable[..., ModelOutputs]:
    """Random outputs of a model of 2 layers in double precision: rows of 5, 3 and 1 tokens, and garbage as padding."""

    def drawn(seed: int, width: int = 8, heads: int = 2, padding: int = 0) -> ModelOutputs:
        generator = torch.Generator().manual_seed(seed)
        tokens, rows = max(LENGTHS), len(LENGTHS)
        mask = torch.arange(tokens + padding)[None] < torch.tensor(LENGTHS)[:, None]

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        def padded(values: Tensor, axis: int) -> Tensor:
            garbage = torch.full_like(values.narrow(axis, 0, 1), 1e3).repeat_interleave(padding, dim=axis)
            return torch.cat([values, garbage], dim=axis)

        head = (rows, heads, tokens, width // heads)
        hidden = {layer: padded(draw(rows, tokens, width), 1) for layer in LAYERS}
        query, key = ({layer: padded(draw(*head), 2) for layer in LAYERS[1:]} for _ in range(2))
        return ModelOutputs(
            mask=mask,
            logits=draw(rows, 4),
            labels=torch.tensor([2, 0, -1]),
            **states(hidden, mask),
            query=query,
            key=key,
            scores={layer: query[layer] @ key[layer].mT * (width // heads) ** -0.5 for layer in LAYERS[1:]},
            value={layer: padded(draw(*head), 2) for layer in LAYERS[1:]},
            lens={layer: draw(rows, 4) for layer in LAYERS[1:]},
        )

    return drawn


@pytest.fixture(scope="session")
def related() -> Callable[..., tuple[Tensor, Tensor | None]]:
    """What a knowledge compares of these layers of one model (one layer, unless it is joint), and its mask."""

    def read(knowledge: Knowledge, side: ModelOutputs, *layers: int) -> tuple[Tensor, Tensor | None]:
        values = [knowledge.extract(side, layer) for layer in layers]
        return knowledge.relate(knowledge.join(values) if knowledge.joint else values[0], side.mask)

    return read


@pytest.fixture(scope="session")
def compared(
    related: Callable[..., tuple[Tensor, Tensor | None]],
) -> Callable[..., Tensor]:
    """The loss of each sample between these layers of two models, without a projection."""

    def loss(
        knowledge: Knowledge,
        objective: Callable[..., Tensor],
        student: ModelOutputs,
        teacher: ModelOutputs,
        *layers: int,
    ) -> Tensor:
        ours, mask = related(knowledge, student, *layers)
        theirs, _ = related(knowledge, teacher, *layers)
        return objective(ours, theirs, mask)

    return loss


@pytest.fixture(scope="session")
def rotation() -> Callable[[int], Tensor]:
    """A random orthogonal matrix."""

    def drawn(width: int) -> Tensor:
        generator = torch.Generator().manual_seed(9)
        return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]

    return drawn
