"""What a training step of kdbench costs over a plain PyTorch loop with the same modules, batches and six losses.

Both sides have the same student, frozen teacher, fused AdamW and clipping; kdbench runs under its Lightning Trainer and
reads its six losses every 25 steps, the plain loop adds them up and reads nothing. A turn counts as its median step, so
that a burst of a neighbour on the machine matters little; the first steps of a turn are not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks.line import Line
from benchmarks.measure import in_turns, same, spread, step_ends
from benchmarks.models import Size, encoder
from benchmarks.rows import rows_of
from benchmarks.task import PADDING_ID, Task
from benchmarks.with_kdbench import training_of
from kdbench import lr_schedule
from kdbench.data.batch import Batch, collate
from kdbench.encoder.base import Encoder
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.matching.pairing import Pairing
from kdbench.matching.uniform import Uniform
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.objective.cosine import cosine
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.mse import mse
from kdbench.outputs import Taps
from kdbench.projection.identity import Identity
from kdbench.projection.to_teacher import ToTeacher
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term import Term

WARM_UP, BATCH = 5, 32
TRAINING = training_of(Task(1, 1, BATCH), "grouped")


@dataclass(frozen=True)
class Case:
    """Student, teacher, the tokens of each row, how much is measured, and how much more a step may cost.

    The rounds and steps are those of a full run; `quick` says whether a quick one, which takes a third of the rounds,
    measures the case at all.
    """

    student: Size
    teacher: Size
    length: int
    rounds: int
    steps: int
    most: float
    unit: str = "ms"
    quick: bool = False


CASES = (
    Case((1, 32), (1, 32), 8, 15, 100, 0.6, quick=True),  # next to no arithmetic: the overhead alone, little noise
    Case((2, 128), (4, 128), 64, 9, 15, 5.0, "%"),  # 0.6 ms would drown in the noise of steps as long as these
    Case((3, 384), (6, 384), 64, 3, 5, 5.0, "%"),
)


def lines(full: bool) -> list[Line]:
    return [measured(case, case.rounds if full else case.rounds // 3) for case in CASES if full or case.quick]


def measured(case: Case, rounds: int) -> Line:
    def make() -> tuple[Encoder, Encoder, list[Term]]:
        student, teacher = encoder(case.student, 1), encoder(case.teacher, 2)
        teacher.requires_grad_(False)
        return student, teacher, six_terms(student, teacher)

    data = batches(case.steps + WARM_UP, case.length)
    equal = same(difference(make, data[0]), 1e-5, "losses")
    sides = {"plain": lambda: Plain(*make()).train(data), "kdbench": lambda: engine(make, data)}
    times = in_turns({side: partial(median_step, work) for side, work in sides.items()}, rounds, warm_up=0)
    pairs = list(zip(times["kdbench"], times["plain"], strict=True))
    more = [1000 * (ours - plain) if case.unit == "ms" else 100 * (ours / plain - 1) for ours, plain in pairs]
    layers, width = case.student
    return Line(
        "P14",
        f"a step with six losses, student of {layers} layers and width {width}: more than a plain loop",
        "a plain loop",
        spread(more),
        case.most,
        at_most=True,
        unit=case.unit,
        note=f"relative difference of losses {equal:.0e}",
        details={"milliseconds_a_step": {side: 1000 * spread(values)[0] for side, values in times.items()}},
    )


def batches(count: int, length: int) -> list[Batch]:
    split = rows_of(np.full(count * BATCH, length))
    return [collate(split, rows, PADDING_ID) for rows in np.split(split.index, count)]


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

    def train(self, data: Sequence[Batch]) -> None:
        for batch in data:
            sum(self.losses(batch)).backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


class Loader:
    """Batches that are ready, as one loader (Lightning takes a list for many)."""

    def __init__(self, data: Sequence[Batch]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.data)


def module_of(make: Callable[[], tuple[Encoder, Encoder, list[Term]]], steps: int) -> StudentModule:
    student, teacher, terms = make()
    source = TeacherOutputs(teacher_taps(terms), teacher)
    return StudentModule(student, [source], terms, optimizer, partial(lr_schedule.linear), TRAINING, steps)


def engine(make: Callable[[], tuple[Encoder, Encoder, list[Term]]], data: Sequence[Batch]) -> None:
    """The same steps by kdbench's own module under its Trainer."""
    module = module_of(make, len(data))
    module.train()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_model_summary=False, enable_progress_bar=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, train_dataloaders=Loader(data))


def median_step(work: Callable[[], object]) -> float:
    """CPU seconds of the median step of a training, without its warm-up."""
    with step_ends() as ends:
        work()
    return statistics.median(later - earlier for earlier, later in pairwise(ends[WARM_UP - 1 :]))


def difference(make: Callable[[], tuple[Encoder, Encoder, list[Term]]], batch: Batch) -> float:
    """The largest relative difference between the two sides' losses, dropout off."""
    module = module_of(make, 1)
    module.model.eval()
    ours = module.losses(batch).detach()
    hand = Plain(*make())
    hand.student.eval()
    plain = torch.stack([loss.detach() for loss in hand.losses(batch)])
    return float(((ours - plain).abs() / plain.abs().clamp(min=1e-6)).max())
