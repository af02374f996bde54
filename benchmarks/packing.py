"""From how much padding on a packed batch is faster than its padded form: where `kdbench.packing.PAYS` comes from.

    python -m benchmarks.packing

Batches of 32 rows of 8 to 40 places, whose lengths are spread evenly around a mean, with a stated number of places per
real token. A teacher makes its forward pass, students their forward and backward pass with dropout, padded and packed
in turns, in one process on one thread; CPU time, median of the rounds with their range.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.line import shown
from benchmarks.measure import gain, in_turns
from benchmarks.models import encoder, frozen
from benchmarks.padding import per_token, tokens
from benchmarks.rows import rows_of
from benchmarks.task import PADDING_ID
from kdbench.data.batch import Batch, collate, packed
from kdbench.outputs import Taps
from kdbench.quiet import quiet_libraries

PLACES, ROWS = 40, 32
SHARES = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)  # places per real token
MODELS = {"teacher l6_h384": (6, 384), "student l3_h192": (3, 192), "student l2_h128": (2, 128)}
BATCHES, ROUNDS = 4, 9
TAPS = Taps(True, hidden=frozenset({1, 2}), scores=frozenset({1, 2}))


def batch_of(share: float) -> Batch:
    """A batch with about so many places per real token."""
    lengths = np.rint(np.linspace(max(1, 2 * PLACES / share - PLACES), PLACES, ROWS)).astype(np.int64)
    return collate(rows_of(lengths), np.arange(ROWS), PADDING_ID)


def work_of(name: str) -> Callable[[Batch], object]:
    """A pass of the model over a batch: the teacher's without a graph, a student's forth and back."""
    model = encoder(MODELS[name], 1)
    if name.startswith("teacher"):
        frozen(model)
        return lambda batch: model(batch, TAPS)
    model.train()

    def taught(batch: Batch) -> None:
        outputs = model(batch, TAPS)
        losses = [outputs.logits.sum(), *(values.square().mean() for values in outputs.hidden.values())]
        torch.stack([*losses, *(values.square().mean() for values in outputs.scores.values())]).sum().backward()  # type: ignore[no-untyped-call]
        model.zero_grad()

    return taught


def main() -> None:
    torch.set_num_threads(1)
    quiet_libraries()
    works = {name: work_of(name) for name in MODELS}
    print(f"| places a token | {' | '.join(MODELS)} |\n|--:|{'--:|' * len(MODELS)}")
    for batch in map(batch_of, SHARES):
        forms = {"padded": [batch] * BATCHES, "packed": [packed(batch)] * BATCHES}
        cells = [f"{batch.attention_mask.numel() / tokens(batch):.2f}"]
        for work in works.values():
            found = in_turns({form: partial(per_token, work, data) for form, data in forms.items()}, ROUNDS)
            middle, *ends = (shown(ratio, "x") for ratio in gain(found["padded"], found["packed"]))
            cells.append(f"{middle} ({' to '.join(ends)})")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
