"""Whether a sweep in one process grows: its resident memory after many jobs against that after ten.

A whole `kdbench -m` in a process of its own: every job trains, evaluates and measures another student (`l2_h128`, 200
rows), and memory is read after a garbage collection.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.line import Line

SETTLED = 10
"""Jobs after which everything is imported, and every allocator has its arenas."""


def lines(full: bool) -> list[Line]:
    jobs = 50 if full else 14
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.many_jobs", str(jobs), folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        resident = json.loads((Path(folder) / "resident.json").read_text(encoding="utf-8"))
    assert len(resident) == jobs
    ratio = resident[-1] / resident[SETTLED - 1]
    return [
        Line(
            id="memory",
            what=f"resident memory after {jobs} jobs in one process",
            peer=f"after {SETTLED}",
            figure=(ratio, ratio, ratio),
            gate=1.05,
            at_most=True,
            details={"resident_megabytes": [round(each / 1e6, 1) for each in resident]},
        )
    ]


def sweep(jobs: int, folder: Path) -> None:
    """The sweep, with the resident bytes after each job in `resident.json`."""
    from kdbench import train

    resident: list[int] = []
    job = train.job

    def watched(cfg: object) -> object:
        outcome = job(cfg)  # type: ignore[arg-type]
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        resident.append(pages * 4096)
        (folder / "resident.json").write_text(json.dumps(resident), encoding="utf-8")
        return outcome

    train.job = watched  # type: ignore[assignment]
    sys.argv = tiny_sweep(jobs, folder, "knowledge=hidden", "projection=to_teacher")
    train.main()


def tiny_sweep(jobs: int, folder: Path, *overrides: str) -> list[str]:
    """A command of so many small jobs, with a store of its own."""
    return [
        "kdbench",
        "-m",
        *("data=generated", "data.train_rows=200", "teacher.training.max_steps=1", "device=cpu"),
        *("student/size=l2_h128", "initialization=random", *overrides),
        f"seed=range(1,{jobs + 1})",
        *(f"paths.store={folder / 'store'}", f"hydra.sweep.dir={folder / 'sweep'}"),
    ]


if __name__ == "__main__":
    sweep(int(sys.argv[1]), Path(sys.argv[2]))
