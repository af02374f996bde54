"""Reading a teacher's outputs from kdbench's files: against one `.pt` file a row, and as a share of the teacher's pass.

Warm: what is read lies in the system's page cache. The files of a row hold the same real tokens in the same precision,
are opened by `torch.load` as it comes, and padded to the same float32 tensors; both are checked to be equal bit by bit.
The rows are those of the engine's length-grouped batches, whose teacher has no padding to waste time on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.line import Line
from benchmarks.measure import cpu_seconds, gain, in_turns, spread
from benchmarks.models import TEACHER, encoder, frozen
from benchmarks.task import PADDING_ID, Task
from benchmarks.with_kdbench import SEED, opened, taps_of, training_of, write_outputs
from kdbench.data.batch import Batch
from kdbench.module.training import BatchStream
from kdbench.outputs import Taps
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.teacher_outputs.stream import name, read_of

LOGITS, HIDDEN = Taps(logits=True), Taps(hidden=frozenset({0, 2, 4, 6}))
ROWS_GATES = {"logits": 20.0, "4 hidden states": 2.5}
SHARE_GATE = 2.0


def lines(full: bool) -> list[Line]:
    task = Task(1, 1, 640 if full else 320)
    rounds = 9 if full else 3
    split, teacher = task.split, frozen(encoder(TEACHER, 99))
    batches = list(BatchStream(split, training_of(task, "grouped"), SEED, PADDING_ID))
    read = {"logits": LOGITS, "4 hidden states": HIDDEN, "4 hidden states, 3 attention maps, logits": taps_of(task)}
    with TemporaryDirectory() as root:
        folder = Path(root)
        write_outputs(task, split, teacher, folder)
        files = {what: opened(taps, split, teacher.shape, folder) for what, taps in read.items()}
        found = [against_rows(what, files[what], read[what], batches, folder, rounds) for what in ROWS_GATES]
        for what in list(read)[1:]:
            live = TeacherOutputs(read[what], teacher)
            found.append(share(what, files[what], live, batches[:: 4 if full else 10], rounds))
    return found


def against_rows(what: str, files: CachedOutputs, taps: Taps, batches: list[Batch], folder: Path, rounds: int) -> Line:
    """How many times as fast as one file a row."""
    rows = folder / "rows"
    rows.mkdir(exist_ok=True)
    for batch in batches:
        write_rows(files, taps, batch, rows)
    for batch in batches:
        kept, loaded = files(batch), from_rows(taps, batch, rows)
        assert all(torch.equal(read_of(kept, stream), loaded[name(stream)]) for stream in taps), what
    ways = {
        "kdbench": partial(seconds_a_batch, files, batches, 20 if taps == LOGITS else 4),
        "one file a row": partial(seconds_a_batch, lambda batch: from_rows(taps, batch, rows), batches, 1),
    }
    times = in_turns(ways, rounds)
    return Line(
        "P13",
        f"reading {what} of a batch",
        "one .pt file a row",
        gain(times["one file a row"], times["kdbench"]),
        ROWS_GATES[what],
        note="read tensors are equal bit by bit",
        details={"milliseconds_a_batch": {way: 1000 * spread(values)[0] for way, values in times.items()}},
    )


def share(what: str, files: CachedOutputs, live: TeacherOutputs, batches: list[Batch], rounds: int) -> Line:
    """Reading as a percentage of what it replaces."""
    ways = {
        "kdbench": partial(seconds_a_batch, files, batches, 10),
        "live teacher": partial(seconds_a_batch, live, batches, 1),
    }
    times = in_turns(ways, rounds)
    percent = [100 * mine / theirs for mine, theirs in zip(times["kdbench"], times["live teacher"], strict=True)]
    return Line(
        "P13",
        f"reading {what} of a batch, share of the teacher's pass",
        "live teacher",
        spread(percent),
        SHARE_GATE,
        at_most=True,
        unit="%",
        details={"milliseconds_a_batch": {way: 1000 * spread(values)[0] for way, values in times.items()}},
    )


def seconds_a_batch(work: object, batches: list[Batch], repeats: int) -> float:
    """CPU seconds."""
    assert callable(work)

    def all_of_them() -> None:
        for _ in range(repeats):
            for batch in batches:
                work(batch)

    return cpu_seconds(all_of_them) / repeats / len(batches)


def write_rows(files: CachedOutputs, taps: Taps, batch: Batch, folder: Path) -> None:
    """A file a row with its real tokens, in the precision of kdbench's files."""
    outputs = files(batch)
    for place, row in enumerate(batch.index.tolist()):
        tokens = int(batch.attention_mask[place].sum())
        layouts = {stream: files.streams[stream].layout for stream in taps}
        kept = {
            name(stream): layout.cut(read_of(outputs, stream)[place], tokens).to(layout.dtype).clone()
            for stream, layout in layouts.items()
        }
        torch.save(kept, folder / f"{row}.pt")


def from_rows(taps: Taps, batch: Batch, folder: Path) -> dict[str, Tensor]:
    """The same batch from the files of its rows."""
    loaded = [torch.load(folder / f"{row}.pt") for row in batch.index.tolist()]
    rows = {name(stream): [row[name(stream)] for row in loaded] for stream in taps}
    return {key: stacked(values) for key, values in rows.items()}


def stacked(rows: list[Tensor]) -> Tensor:
    """One float32 tensor of rows of any length."""
    whole = torch.stack(rows) if rows[0].dim() == 1 else pad_sequence(rows, batch_first=True)
    return whole.float()
