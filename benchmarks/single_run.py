"""One student, step by step, on the same random batches: where no toolkit can gain much, none should lose.

CPU seconds from one optimizer step to the next, teacher and data included, the first step not counted. TextBrewer,
torchdistill and kdbench run the same float32 teacher at every step; beside them kdbench with a bfloat16 teacher, and
with the teacher's outputs in files (written before, which is not counted here).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from benchmarks import with_kdbench, with_textbrewer, with_torchdistill
from benchmarks.line import Line
from benchmarks.measure import difference, gain, in_turns, per_step, same, spread, step_ends
from benchmarks.models import TEACHER, encoder, frozen, hugging_face
from benchmarks.peer import HOW, peer
from benchmarks.sweep import SAME, SAME_FROM_FILES, TEACHER_SEED
from benchmarks.task import Gradient, Task, equal_rows
from benchmarks.with_kdbench import Outputs
from kdbench.encoder.base import Encoder
from kdbench.module.student import StudentModule

SAME_IN_BF16 = 3e-2
GATES = (  # id, side of kdbench, peer, gate
    ("P5", "live teacher", "TextBrewer", 0.95),
    ("P5", "live teacher", "torchdistill", 0.95),
    ("P5b", "bf16 teacher", "TextBrewer", 1.25),
    ("P5b", "cached teacher", "TextBrewer", 2.1),
)


def lines(full: bool) -> list[Line]:
    task = Task(1, 1, 8 * 32 if full else 4 * 32)
    split = task.split
    ours, theirs = frozen(encoder(TEACHER, TEACHER_SEED)), frozen(hugging_face(TEACHER, TEACHER_SEED))
    with TemporaryDirectory() as root:
        folder = Path(root)
        outputs: dict[str, Outputs] = {
            "live teacher": with_kdbench.live_outputs(task, ours),
            "bf16 teacher": with_kdbench.live_outputs(task, ours, "bf16"),
            "cached teacher": with_kdbench.write_outputs(task, split, ours, folder / "outputs"),
        }
        runs: dict[str, Callable[[], object]] = {
            side: partial(with_kdbench.train, task, 1, split, found, folder, "exact") for side, found in outputs.items()
        }
        if peer("textbrewer") is not None:
            runs["TextBrewer"] = partial(with_textbrewer.train, task, 1, split, theirs, folder)
        if with_torchdistill.torchdistill() is not None:
            runs["torchdistill"] = partial(with_torchdistill.train, task, 1, split, theirs, folder)
        notes = equal(task, ours, theirs, folder, runs)
        times = in_turns({side: partial(timed, run) for side, run in runs.items()}, 7 if full else 2, warm_up=0)
    return [compared(name, side, other, gate, times, notes) for name, side, other, gate in GATES]


def compared(
    name: str, side: str, other: str, gate: float, times: dict[str, list[float]], notes: dict[str, str]
) -> Line:
    what = f"one student, {side}, identical batches"
    if other not in times:
        return Line(name, what, other, None, gate, note=f"{other}: {HOW}")
    milliseconds = {way: 1000 * spread(times[way])[0] for way in (side, other)}
    details = {"milliseconds_a_step": milliseconds}
    note = "; ".join(notes[each] for each in (other, side) if each in notes)
    return Line(name, what, other, gain(times[other], times[side]), gate, note=note, details=details)


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of a step."""
    gc.collect()
    with step_ends() as ends:
        run()
    return per_step(ends)


def equal(
    task: Task,
    ours: Encoder,
    theirs: PreTrainedModel,
    folder: Path,
    sides: dict[str, Callable[[], object]],
) -> dict[str, str]:
    """Check every side's losses and gradients against kdbench's in float32, on rows of one length."""
    split = equal_rows()

    def of(outputs: Outputs) -> tuple[Gradient, StudentModule]:
        return with_kdbench.gradient(task, split, outputs)

    exact, module = of(with_kdbench.live_outputs(task, ours, "f32", "f32"))
    found: dict[str, tuple[Gradient, float]] = {
        "live teacher": (of(with_kdbench.live_outputs(task, ours))[0], SAME_FROM_FILES),
        "bf16 teacher": (of(with_kdbench.live_outputs(task, ours, "bf16"))[0], SAME_IN_BF16),
        "cached teacher": (of(with_kdbench.write_outputs(task, split, ours, folder / "equal"))[0], SAME_FROM_FILES),
    }
    if "TextBrewer" in sides:
        found["TextBrewer"] = (with_textbrewer.gradient(task, split, theirs, folder, module), SAME)
    if "torchdistill" in sides:
        found["torchdistill"] = (with_torchdistill.gradient(task, split, theirs, module), SAME)
    said = {}
    for side, ((loss, gradient), most) in found.items():
        losses = same(abs(loss - exact[0]) / exact[0], most, side)
        gradients = same(difference(gradient, exact[1]), most, side)
        said[side] = f"{side}: relative difference of losses {losses:.0e}, of gradients {gradients:.0e}"
    return said
