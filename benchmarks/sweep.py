"""A whole sweep, kdbench against TextBrewer: the same students from the same weights, losses and numbers of steps.

CPU seconds of everything between a loaded teacher and the last student's file; see `with_kdbench` and `with_textbrewer`
for what is in. TextBrewer runs the teacher at every step of every student, on random batches that are padded to their
longest row, or to 128 tokens as its examples do; where only logits are read it has its own cache. kdbench writes the
teacher's outputs once and reads them, in length-grouped batches (another order of the rows than TextBrewer's) or, as
`exact`, in the very batches of TextBrewer.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from benchmarks import with_kdbench, with_textbrewer
from benchmarks.line import Line
from benchmarks.measure import cpu_seconds, difference, gain, in_turns, same, spread
from benchmarks.models import BERT_BASE, encoder, frozen, hugging_face
from benchmarks.peer import HOW, peer
from benchmarks.task import Task, equal_rows
from benchmarks.with_kdbench import Batching
from kdbench.encoder.base import Encoder

TEACHER_SEED = 99
ROUNDS = {True: 2, False: 1}
SAME, SAME_FROM_FILES = 1e-5, 1e-3
"""Largest relative differences of losses and gradients: of float32, and of teacher outputs kept in half precision."""


@dataclass(frozen=True)
class Comparison:
    """One sweep on both sides.

    Attributes:
        full, quick: its size in a full and in a quick run.
        gates: for each of kdbench's orders of the rows, the line's id and its gate.
        teacher: in words.
        pad_to: of TextBrewer's batches.
        caches: whether TextBrewer keeps the teacher's logits.
    """

    full: Task
    quick: Task
    gates: Mapping[Batching, tuple[str, float]]
    teacher: str = "6 layers, width 384"
    pad_to: int | None = None
    caches: bool = False

    @property
    def peer(self) -> str:
        kept = ", with its own cache" if self.caches else ""
        return f"TextBrewer, {'dynamic padding' if self.pad_to is None else f'padded to {self.pad_to}'}{kept}"


COMPARISONS = (
    Comparison(Task(8, 3, 256), Task(4, 2, 96), {"grouped": ("P1", 3.5), "exact": ("P1a", 2.2)}),
    Comparison(Task(4, 2, 128), Task(2, 2, 64), {"grouped": ("P2", 9.0)}, pad_to=128),
    Comparison(
        Task(8, 2, 48, 16, BERT_BASE),
        Task(4, 2, 16, 8, BERT_BASE),
        {"grouped": ("P3", 7.0)},
        teacher="like BERT-base",
    ),
    Comparison(Task(8, 3, 192, full=False), Task(4, 2, 96, full=False), {"grouped": ("P4", 2.3)}, caches=True),
)


def lines(full: bool) -> list[Line]:
    if peer("textbrewer") is None:
        return [
            Line(name, words(each, each.full, batching), each.peer, None, gate, note=f"TextBrewer: {HOW}")
            for each in COMPARISONS
            for batching, (name, gate) in each.gates.items()
        ]
    return [line for each in COMPARISONS for line in compared(each, full)]


def words(comparison: Comparison, task: Task, batching: Batching) -> str:
    losses = "9 losses" if task.full else "2 losses of logits"
    order = "" if batching == "grouped" else ", identical batches"
    return (
        f"sweep: {task.students} students, {task.epochs} epochs of {task.rows} rows, {losses}, teacher "
        f"{comparison.teacher}{order}"
    )


def compared(comparison: Comparison, full: bool) -> list[Line]:
    """The lines of one comparison."""
    task = comparison.full if full else comparison.quick
    split = task.split
    ours = frozen(encoder(task.teacher, TEACHER_SEED))
    theirs = frozen(hugging_face(task.teacher, TEACHER_SEED))
    with TemporaryDirectory() as root:
        note = equal(task, ours, theirs, Path(root))
        ways: dict[str, Callable[[], float]] = {
            batching: partial(timed, partial(with_kdbench.sweep, task, split, ours, batching=batching), Path(root))
            for batching in comparison.gates
        }
        peers = partial(with_textbrewer.sweep, task, split, theirs, pad_to=comparison.pad_to, caches=comparison.caches)
        ways["TextBrewer"] = partial(timed, peers, Path(root))
        times = in_turns(ways, ROUNDS[full], warm_up=0)
    hourly = {way: 3600 * task.students / spread(values)[0] for way, values in times.items()}
    return [
        Line(
            name,
            words(comparison, task, batching),
            comparison.peer,
            gain(times["TextBrewer"], times[batching]),
            gate,
            note=note,
            details={
                "students_per_hour": {"kdbench": hourly[batching], "TextBrewer": hourly["TextBrewer"]},
                "cpu_seconds": {"kdbench": times[batching], "TextBrewer": times["TextBrewer"]},
            },
        )
        for batching, (name, gate) in comparison.gates.items()
    ]


def timed(work: Callable[..., object], folder: Path) -> float:
    """CPU seconds of a sweep that writes into a folder of its own."""
    gc.collect()
    with TemporaryDirectory(dir=folder) as place:
        return cpu_seconds(partial(work, folder=Path(place)))


def equal(task: Task, ours: Encoder, theirs: PreTrainedModel, folder: Path) -> str:
    """Check that the sides have the same losses and gradients, on rows of one length, and say how equal they are."""
    split = equal_rows()
    live, module = with_kdbench.gradient(task, split, with_kdbench.live_outputs(task, ours, "f32", "f32"))
    other = with_textbrewer.gradient(task, split, theirs, folder, module)
    written = with_kdbench.write_outputs(task, split, ours, folder / "equal")
    kept, _ = with_kdbench.gradient(task, split, written)
    losses = same(abs(live[0] - other[0]) / other[0], SAME, "losses")
    gradients = same(difference(live[1], other[1]), SAME, "gradients")
    files = same(difference(kept[1], other[1]), SAME_FROM_FILES, "gradients from files")
    return f"relative difference of losses {losses:.0e}, of gradients {gradients:.0e}, from files {files:.0e}"
