"""On a GPU: students trained per hour, and how near the teacher's forward pass comes to the chip.

Wall time, every clock after a synchronisation. Sixteen students of 3 layers and width 192 learn from a teacher like
BERT-base in bfloat16, one after the other: with the teacher at every step, and with its outputs in files that the
system keeps in memory. Where there is no GPU nothing is measured, and the lines say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks import with_kdbench, with_textbrewer
from benchmarks.line import Line
from benchmarks.measure import gain, in_turns, spread
from benchmarks.models import BERT_BASE, encoder, frozen, hugging_face
from benchmarks.peer import HOW, peer
from benchmarks.rows import rows_of
from benchmarks.task import PADDING_ID, Task
from kdbench.data.batch import collate
from kdbench.outputs import Taps
from kdbench.teacher_outputs.source import TeacherOutputs

PEAK_TERAFLOPS = 790
"""Of one H200 in bfloat16, as measured on its matrix products."""
NO_GPU = "no GPU at hand"


def lines(full: bool) -> list[Line]:
    task = Task(16, 1, 6400 if full else 640, teacher=BERT_BASE)
    return [students(task, 2 if full else 1), forward(9 if full else 3)]


def students(task: Task, rounds: int) -> Line:
    """How many times as many students an hour as TextBrewer."""
    what = f"{task.students} students, {task.rows} rows, teacher like BERT-base, batch {task.batch_size}, bf16"
    line = partial(Line, "G1", what, "TextBrewer, one run after the other")
    if not torch.cuda.is_available():
        return line(None, 5.0, missing="not measured", note=NO_GPU)
    if peer("textbrewer") is None:
        return line(None, 5.0, note=f"TextBrewer: {HOW}")
    times = in_turns(ways(task, "cuda"), rounds)
    hourly = {way: 3600 * task.students / spread(values)[0] for way, values in times.items()}
    best = min(("files", "live"), key=lambda way: spread(times[way])[0])
    note = ", ".join(f"{way} {count:.0f} students an hour" for way, count in hourly.items())
    return line(gain(times["TextBrewer"], times[best]), 5.0, note=note, details={"hourly": hourly})


def ways(task: Task, device: str) -> dict[str, Callable[[], float]]:
    """The sweep with a live teacher, with files, and with TextBrewer."""
    split = task.split
    ours = frozen(encoder(task.teacher, 99)).to(device)
    theirs = frozen(hugging_face(task.teacher, 99)).to(device)

    def with_outputs(write: bool, folder: Path) -> None:
        live = with_kdbench.live_outputs(task, ours, "bf16")
        written = partial(with_kdbench.write_outputs, task, split, ours, folder / "outputs", device, "bf16")
        outputs = written() if write else live
        for student in range(task.students):
            with_kdbench.train(task, student, split, outputs, folder, "grouped", device, "bf16")

    def textbrewer(folder: Path) -> None:
        with torch.autocast(device, torch.bfloat16):
            with_textbrewer.sweep(task, split, theirs, folder, device=device)

    return {
        "live": partial(wall_seconds, partial(with_outputs, False)),
        "files": partial(wall_seconds, partial(with_outputs, True)),
        "TextBrewer": partial(wall_seconds, textbrewer),
    }


def wall_seconds(work: Callable[[Path], object]) -> float:
    with TemporaryDirectory() as root:
        start = now()
        work(Path(root))
        return now() - start


def now() -> float:
    """The time when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def forward(rounds: int, rows: int = 256, length: int = 128) -> Line:
    """The teacher's forward pass as a share of the chip's peak."""
    line = partial(Line, "G3", f"forward pass of a teacher like BERT-base, {rows} rows of {length}, bf16", "the chip")
    if not torch.cuda.is_available():
        return line(None, 45.0, unit="%", missing="not measured", note=NO_GPU)
    teacher = TeacherOutputs(Taps(logits=True), frozen(encoder(BERT_BASE, 99)), computed_in="bf16").to("cuda")
    split = rows_of(np.full(rows, length))
    batch = collate(split, split.index, PADDING_ID).to("cuda")
    layers, width = BERT_BASE
    flops = layers * rows * (24 * width**2 * length + 4 * width * length**2)

    def timed() -> float:
        start = now()
        for _ in range(10):
            teacher(batch)
        return (now() - start) / 10

    seconds = in_turns({"forward": timed}, rounds)["forward"]
    rates = [flops / each / 1e12 for each in seconds]
    percent = spread([100 * rate / PEAK_TERAFLOPS for rate in rates])
    return line(percent, 45.0, unit="%", note=f"{spread(rates)[0]:.0f} TFLOP/s of {PEAK_TERAFLOPS}")
