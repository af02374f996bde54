"""From how much padding on a packed batch is faster than its padded form: where `kdbench.packing.PAYS` comes from.

    python benchmarks/packing.py [--out packing.json]

Batches of 32 rows of 8 to 40 places, whose lengths are spread evenly around a mean, with a stated number of places per
real token. A teacher of 6 layers and width 384 makes its forward pass, students their forward and backward pass with
dropout, padded and packed in turns, in one process on one thread; CPU time, median of the rounds with their range.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from padding import gains, in_turns, rows_of, seconds, tokens
from step_overhead import bert

from kdbench.data.batch import Batch, collate, packed
from kdbench.encoder import Encoder
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
    return collate(rows_of(lengths), np.arange(ROWS), 0)


def work_of(name: str) -> Callable[[Batch], object]:
    """A pass of the model over a batch: the teacher's without a graph, a student's forth and back."""
    model: Encoder = bert(MODELS[name], 1)
    if name.startswith("teacher"):
        model.eval().requires_grad_(False)
        return lambda batch: model(batch, TAPS)
    model.train()

    def taught(batch: Batch) -> None:
        outputs = model(batch, TAPS)
        losses = [outputs.logits.sum(), *(values.square().mean() for values in outputs.hidden.values())]
        torch.stack([*losses, *(values.square().mean() for values in outputs.scores.values())]).sum().backward()
        model.zero_grad()

    return taught


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    works = {name: work_of(name) for name in MODELS}
    print(f"| places a token | {' | '.join(MODELS)} |\n|--:|{'--:|' * len(MODELS)}")
    rows = []
    for share in SHARES:
        batch = batch_of(share)
        forms = {"padded": [batch] * BATCHES, "packed": [packed(batch)] * BATCHES}
        row: dict[str, object] = {"share": batch.attention_mask.numel() / tokens(batch)}
        for name, work in works.items():
            ways = {form: lambda work=work, data=data: seconds(work, data) for form, data in forms.items()}
            row[name] = gains(in_turns(ways, ROUNDS), "padded")["packed"]
        cells = [f"{row[name][0]:.2f}x ({row[name][1]:.2f} to {row[name][2]:.2f})" for name in MODELS]  # type: ignore[index]
        print(f"| {row['share']:.2f} | {' | '.join(cells)} |", flush=True)
        rows.append(row)
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
