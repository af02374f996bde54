"""What a training step of kdbench costs over a plain PyTorch loop with the same modules, batches and six losses.

    python benchmarks/step_overhead.py [--case l2_h128] [--out step_overhead.json]

Both sides run in one process on one thread, in turns (plain, kdbench, kdbench, plain, ...), on the same batches with
the same student, frozen teacher, fused AdamW and clipping; kdbench runs under its Lightning Trainer and reads its six
losses every 25 steps, the plain loop adds them up and reads nothing. Each step is timed by itself and a turn counts as
its median step, so that a neighbour's burst on the machine matters little; the first steps of each turn are not
counted. The difference is the median over the rounds, with a bootstrap interval of 95 %. The two are first checked to
have the same losses. Gates: at most 0.6 ms a step more for l1_h32 and l2_h128, at most 5 % more for l3_h384.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.stats import bootstrap
from torch import Tensor
from transformers import BertConfig

from kdbench import lr_schedule
from kdbench.data.batch import Batch
from kdbench.encoder import Encoder, from_config
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.matching.pairing import Pairing
from kdbench.matching.uniform import Uniform
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import Training
from kdbench.objective.cosine import cosine
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.outputs import Taps
from kdbench.projection.identity import Identity
from kdbench.projection.to_teacher import ToTeacher
from kdbench.quiet import quiet_libraries
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import Term

WARM_UP = 5
TRAINING = Training(1, None, 32, 1, 1.0, "grouped", True, 1, None, "last", 10**9, 25)


@dataclass(frozen=True)
class Case:
    """Layers and width of student and teacher, the tokens of each of the 32 rows, and how much is measured."""

    student: tuple[int, int]
    teacher: tuple[int, int]
    length: int
    rounds: int
    steps: int


CASES = {
    "l1_h32": Case((1, 32), (1, 32), 8, 15, 100),  # next to no arithmetic: the overhead alone, hardly any noise
    "l2_h128": Case((2, 128), (4, 128), 64, 15, 40),
    "l3_h384": Case((3, 384), (6, 384), 64, 7, 10),
}


def bert(shape: tuple[int, int], seed: int) -> Encoder:
    torch.manual_seed(seed)
    layers, width = shape
    heads = 12 if width % 12 == 0 else 2
    return from_config(
        BertConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width)
    )


def batches(count: int, length: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        ids = torch.randint(1000, 30000, (32, length), generator=generator)
        made.append(
            Batch(
                ids,
                torch.ones_like(ids, dtype=torch.bool),
                torch.zeros_like(ids),
                torch.randint(0, 2, (32,), generator=generator),
                torch.arange(32),
            )
        )
    return made


def six_terms(student: Encoder, teacher: Encoder) -> list[Term]:
    """Labels, logits twice, hidden states twice, and attention where the heads agree, else a third hidden term."""
    pairs = Uniform().pairs(len(student.layers), len(teacher.layers))
    widths = student.shape.width, teacher.shape.width
    torch.manual_seed(1)

    def projected() -> ToTeacher | Identity:
        layers = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
        return Identity(*widths, *layers) if widths[0] == widths[1] else ToTeacher(*widths, *layers)

    if student.shape.heads == teacher.shape.heads:
        sixth = Term("attention", Attention(), mse, Pairing(pairs), Identity(0, 0, [], []))
    else:
        sixth = Term("hidden_last", Hidden(False), mse, Pairing(pairs[-1:]), projected())
    return [
        Term("label", Label(), cross_entropy),
        Term("soft", Logits(), partial(kl, temperature=2.0)),
        Term("logits", Logits(), mse),
        Term("hidden", Hidden(False), mse, Pairing(pairs), projected()),
        Term("direction", Hidden(False), cosine, Pairing(pairs), projected()),
        sixth,
    ]


def optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True)


class Plain:
    """The hand loop: what somebody would write who needs just this."""

    def __init__(self, student: Encoder, teacher: Encoder, terms: list[Term]) -> None:
        self.student, self.teacher, self.terms = student.train(), teacher.eval(), terms
        self.learned = [*student.parameters(), *(weight for term in terms for weight in term.parameters())]
        matrices = [weight for weight in self.learned if weight.ndim > 1]
        vectors = [weight for weight in self.learned if weight.ndim <= 1]
        self.optimizer = optimizer([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
        self.student_taps, self.teacher_taps = Taps(), Taps()
        for term in terms:
            self.student_taps, self.teacher_taps = (
                self.student_taps | term.student_taps,
                self.teacher_taps | term.teacher_taps,
            )

    def losses(self, batch: Batch) -> list[Tensor]:
        with torch.no_grad():
            target = self.teacher(batch, self.teacher_taps)
        learned = self.student(batch, self.student_taps)
        return [term(learned, target).mean() for term in self.terms]

    def seconds(self, data: list[Batch]) -> float:
        """Seconds of the median step."""
        ends = []
        for batch in data:
            sum(self.losses(batch)).backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            ends.append(time.perf_counter())
        return median_step(ends)


def median_step(ends: list[float]) -> float:
    """From the moments at which steps ended to the seconds of the median one, without the warm-up."""
    return statistics.median(later - earlier for earlier, later in pairwise(ends[WARM_UP - 1 :]))


class Loader:
    """Batches that are ready, as one loader (Lightning takes a list for many)."""

    def __init__(self, data: list[Batch]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.data)


class Clock(pl.Callback):
    """The moments at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        self.ends.append(time.perf_counter())


def engine_seconds(make: Callable[[], tuple[Encoder, Encoder, list[Term]]], data: list[Batch]) -> float:
    """Seconds of the median step of kdbench's own module under its Trainer."""
    student, teacher, terms = make()
    source = TeacherOutputs(teacher_taps(terms), teacher)
    module = StudentModule(student, source, terms, optimizer, partial(lr_schedule.linear), TRAINING, len(data))
    module.train()
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, callbacks=[clock], enable_checkpointing=False,
        enable_model_summary=False, enable_progress_bar=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, train_dataloaders=Loader(data))
    return median_step(clock.ends)


def check_equal(make: Callable[[], tuple[Encoder, Encoder, list[Term]]], data: list[Batch]) -> float:
    """The largest relative difference between the two sides' losses, dropout off; refuses more than float noise."""
    student, teacher, terms = make()
    source = TeacherOutputs(teacher_taps(terms), teacher)
    module = StudentModule(student, source, terms, optimizer, partial(lr_schedule.linear), TRAINING, 1)
    student.eval()
    ours = module.losses(data[0]).detach()
    student, teacher, terms = make()
    hand = Plain(student, teacher, terms)
    student.eval()
    plain = torch.stack([loss.detach() for loss in hand.losses(data[0])])
    difference = float(((ours - plain).abs() / plain.abs().clamp(min=1e-6)).max())
    assert difference < 1e-5, f"the two sides compute different losses: {difference}"
    return difference


def measure(name: str) -> dict[str, Any]:
    case = CASES[name]

    def make() -> tuple[Encoder, Encoder, list[Term]]:
        student, teacher = bert(case.student, 1), bert(case.teacher, 2)
        teacher.requires_grad_(False)
        return student, teacher, six_terms(student, teacher)

    data = batches(case.steps + WARM_UP, case.length)
    difference = check_equal(make, data)
    plain, ours = [], []
    for turn in range(case.rounds):
        sides = [lambda: plain.append(Plain(*make()).seconds(data)), lambda: ours.append(engine_seconds(make, data))]
        for side in sides if turn % 2 == 0 else reversed(sides):
            side()
    more = [1000 * (right - left) for left, right in zip(plain, ours, strict=True)]
    ratio = [right / left for left, right in zip(plain, ours, strict=True)]
    return {
        "case": name,
        "plain_ms": 1000 * statistics.median(plain),
        "kdbench_ms": 1000 * statistics.median(ours),
        "more_ms": statistics.median(more),
        "more_ms_interval": interval(more),
        "ratio": statistics.median(ratio),
        "ratio_interval": interval(ratio),
        "loss_difference": difference,
        "rounds": case.rounds,
        "steps": case.steps,
    }


def interval(values: list[float]) -> list[float]:
    """The 95 % bootstrap interval of the median."""
    found = bootstrap((values,), np.median, method="percentile", n_resamples=5000, rng=np.random.default_rng(0))
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    rows = [measure(name) for name in CASES if options.case in (name, "all")]
    print("| student | plain loop, ms | kdbench, ms | more, ms (95 %) | ratio (95 %) |\n|---|---|---|---|---|")
    for row in rows:
        low, high = row["more_ms_interval"]
        least, most = row["ratio_interval"]
        print(
            f"| {row['case']} | {row['plain_ms']:.1f} | {row['kdbench_ms']:.1f} | {row['more_ms']:.2f} "
            f"({low:.2f} to {high:.2f}) | {row['ratio']:.3f} ({least:.3f} to {most:.3f}) |"
        )
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
