"""A sweep from the command line, all in: one `kdbench -m` of twelve runs against twelve TextBrewer scripts.

The seconds of whole processes, imports, tokenising, evaluating and writing among them, one process after the other with
one thread each. Both begin with the same fine-tuned teacher (made before, not counted) and the same CSV files of film
reviews, and train the same students with the same losses for as many epochs: four temperatures times three seeds.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.line import Line
from benchmarks.peer import HOW, peer
from kdbench.data.reviews import Reviews
from kdbench.json_file import read_json

ROOT = Path(__file__).parents[1]
LR = 5e-5


@dataclass(frozen=True)
class Effort:
    """How many rows and students."""

    train_rows: int
    evaluation_rows: int
    epochs: int
    temperatures: tuple[int, ...]
    seeds: tuple[int, ...]


FULL = Effort(800, 400, 2, (1, 2, 4, 8), (1, 2, 3))
QUICK = Effort(256, 128, 2, (1, 2), (1, 2))


def lines(full: bool) -> list[Line]:
    effort = FULL if full else QUICK
    runs = len(effort.temperatures) * len(effort.seeds)
    what, other = f"`kdbench -m` of {runs} runs, {effort.train_rows} rows, {effort.epochs} epochs", f"{runs} scripts"
    if peer("textbrewer") is None:
        return [Line("command line", what, f"{other} of TextBrewer", None, None, note=f"TextBrewer: {HOW}")]
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_rows(effort, folder)
        make_teacher(folder)
        ours, theirs = Clock(), Clock()
        with ours:
            sweep(effort, folder)
        with theirs:
            scripts(effort, folder)
        scores = scores_in(folder)
    assert [len(found) for found in scores.values()] == [runs, runs]
    means = ", ".join(f"{side} {statistics.mean(found):.3f}" for side, found in scores.items())
    times = {"wall": (ours.wall, theirs.wall), "CPU": (ours.cpu, theirs.cpu)}
    return [
        Line(
            "command line",
            f"{what}: {clock} time",
            f"{other} of TextBrewer",
            (slow / fast,) * 3,
            None,
            note=f"{clock} seconds: kdbench {fast:.0f}, TextBrewer {slow:.0f}; mean accuracy: {means}",
            details={"seconds": {"kdbench": fast, "TextBrewer": slow}, "scores": scores},
        )
        for clock, (fast, slow) in times.items()
    ]


def write_rows(effort: Effort, folder: Path) -> None:
    """The CSV files of both sides: labels as 0 and 1."""
    for split, rows in (("train", effort.train_rows), ("validation", effort.evaluation_rows)):
        table = Reviews().read(split, folder)
        assert table is not None
        frame = table.frame[table.frame["label"] != ""].sample(rows, random_state=0)
        labels = (frame["label"] == "fresh").astype(int)
        frame.assign(label=labels)[["text", "label"]].to_csv(folder / f"{split}.csv", index=False)


def make_teacher(folder: Path) -> None:
    """MiniLM, fine-tuned on the rows as a student of its own size, in a Hugging Face folder."""
    body = ("initialization=pretrained", "initialization.source=embedded", "initialization.model=minilm")
    sizes = ("method=label", "student/size=l6_h384", "teacher.training.max_steps=1", "training.epochs=2")
    run_folder, store = folder / "made", folder / "store_of_the_teacher"
    command("kdbench", *data(folder), *body, *sizes, "optimizer.lr=5e-5", f"hydra.run.dir={run_folder}", on=store)
    command("kdbench-export", str(run_folder), "--out", str(folder / "teacher"), on=store)


def sweep(effort: Effort, folder: Path) -> None:
    command(
        "kdbench",
        "-m",
        *data(folder),
        *("teacher=fine_tuned", f"teacher.model={folder / 'teacher'}", "student/size=l3_h384"),
        *("method=unified_soft", "knowledge=hidden", f"training.epochs={effort.epochs}", f"optimizer.lr={LR}"),
        f"stages.task.terms.soft.objective.temperature={','.join(map(str, effort.temperatures))}",
        *(f"seed={','.join(map(str, effort.seeds))}", f"hydra.sweep.dir={folder / 'sweep'}"),
        on=folder / "store",
    )


def data(folder: Path) -> tuple[str, ...]:
    columns = ("data=reviews", "data.source=folder", "data.splits={train: train, validation: validation, test: null}")
    return (*columns, f"data.folder.path={folder}")


def command(front: str, *words: str, on: Path) -> None:
    """A command of kdbench, from the environment that the benchmarks run in, on a store of its own."""
    run([str(Path(sys.executable).with_name(front)), *words], KDBENCH_STORE=str(on))


def scripts(effort: Effort, folder: Path) -> None:
    for number, (temperature, seed) in enumerate(product(effort.temperatures, effort.seeds)):
        out = folder / "scripts" / str(number)
        out.mkdir(parents=True)
        settings = {
            "teacher": folder / "teacher",
            "train": folder / "train.csv",
            "validation": folder / "validation.csv",
            "out": out,
            "seed": seed,
            "epochs": effort.epochs,
            "temperature": temperature,
            "lr": LR,
        }
        run([sys.executable, "-m", "benchmarks.textbrewer_script", *(f"--{key}={settings[key]}" for key in settings)])


def scores_in(folder: Path) -> dict[str, list[float]]:
    """The best accuracy on validation rows of every student."""
    records = map(read_json, sorted((folder / "store").glob("run/*/record.json")))
    scripted = sorted((folder / "scripts").glob("*/score.json"))
    return {
        "kdbench": [record["metrics"]["validation/accuracy"] for record in records],
        "TextBrewer": [read_json(path) for path in scripted],
    }


def run(words: list[str], **environment: str) -> None:
    """A process on one thread; its output is shown where it fails."""
    ended = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"


class Clock:
    """Wall and CPU seconds of the processes started inside a `with`."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), children()

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, children() - self.cpu


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
