"""Real processes that write teacher outputs: two at the same moment, and one that is killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import kdbench
from kdbench.store import Store

Overrides = Callable[..., list[str]]
RUN = """
import json, sys, time
from pathlib import Path

import kdbench
from kdbench.teacher_outputs import obtain

folder, stop, overrides = Path(sys.argv[1]), sys.argv[2] == "stop", json.loads(sys.argv[3])
fill = obtain.fill

def watched(teacher, *arguments, **more):
    (folder / f"fill.{time.monotonic_ns()}").touch()
    time.sleep(1.0)  # so that the other process comes while this one writes

    def stopping(batch):
        if len(list(folder.glob("batch.*"))) == 2 and stop:
            time.sleep(600)
        (folder / f"batch.{time.monotonic_ns()}").touch()
        return teacher(batch)

    fill(stopping, *arguments, **more)

obtain.fill = watched
kdbench.run(kdbench.compose(overrides))
"""


def start(folder: Path, overrides: list[str], stop: bool = False) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", RUN, str(folder), "stop" if stop else "go", json.dumps(overrides)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def contents(store: Path) -> dict[str, bytes]:
    """The files of all outputs and students in a store."""
    found = [store.glob("outputs/*/*.npy"), store.glob("stage/*/student.safetensors")]
    return {str(path.relative_to(store)): path.read_bytes() for paths in found for path in paths}


@pytest.fixture
def runs(tiny: Overrides, tmp_path: Path) -> Iterator[Callable[[str, int], list[str]]]:
    """The overrides of a run that writes its teacher's outputs into the store of that name; the teacher is there.

    One thread here, as in the other processes, so that the same is added in the same order.
    """

    def overrides(store: str, seed: int) -> list[str]:
        return tiny("knowledge=hidden", "teacher.outputs=cache", f"seed={seed}", f"paths.store={tmp_path / store}")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    kdbench.run(kdbench.compose([*overrides("alone", 0), "method=label"]))
    shutil.copytree(tmp_path / "alone", tmp_path / "shared")
    yield overrides
    torch.set_num_threads(threads)


def alone(runs: Callable[[str, int], list[str]], tmp_path: Path, seeds: tuple[int, ...]) -> dict[str, bytes]:
    """What a store holds whose runs came one after the other, undisturbed."""
    for seed in seeds:
        kdbench.run(kdbench.compose(runs("alone", seed)))
    return contents(tmp_path / "alone")


def test_two_processes_write_them_once_and_read_the_same(runs: Callable[[str, int], list[str]], tmp_path: Path) -> None:
    processes = [start(tmp_path / "both", runs("shared", seed)) for seed in (1, 2)]
    for process in processes:
        finish(process)
    assert len(list((tmp_path / "both").glob("fill.*"))) == 1
    assert contents(tmp_path / "shared") == alone(runs, tmp_path, (1, 2))


def test_outputs_of_a_killed_process_are_written_anew(runs: Callable[[str, int], list[str]], tmp_path: Path) -> None:
    process = start(tmp_path / "killed", runs("shared", 1), stop=True)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "killed").glob("batch.*"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert {each.state for each in Store(tmp_path / "shared").artefacts("outputs")} == {"partial"}
    finish(start(tmp_path / "again", runs("shared", 1)))
    assert contents(tmp_path / "shared") == alone(runs, tmp_path, (1,))
