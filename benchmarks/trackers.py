"""What a tracker costs a sweep where there is neither a network nor a key: the longest that a job waits for it at once.

A whole `kdbench -m logger=...` in a process of its own, whose trackers have nobody to talk to; measured is each call of
ours into the tracker (start, numbers, tables, end), as the share of the two seconds that one may take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.line import Line
from benchmarks.many_jobs import tiny_sweep

ALLOWED_SECONDS = 2.0
NOWHERE = "http://127.0.0.1:9"
"""An address that answers nobody."""


def lines(full: bool) -> list[Line]:
    return [_line(name, 6 if full else 2) for name in ("wandb", "trackio")]


def _line(tracker: str, jobs: int) -> Line:
    with TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        alone = {"HOME": folder, "TRACKIO_DIR": f"{folder}/trackio", "http_proxy": NOWHERE, "https_proxy": NOWHERE}
        command = [sys.executable, "-m", "benchmarks.trackers", tracker, str(jobs), folder]
        silent: Any = subprocess.DEVNULL
        subprocess.run(command, check=True, stdout=silent, stderr=silent, env={**kept, **alone})
        waits = json.loads((Path(folder) / "waits.json").read_text(encoding="utf-8"))
    longest = max(waits) / ALLOWED_SECONDS
    return Line(
        id=f"{tracker}_wait",
        what=f"longest wait for logger={tracker} in a sweep of {jobs} jobs without network or key",
        peer="two seconds",
        figure=(longest, longest, longest),
        gate=1.0,
        at_most=True,
        details={"seconds_at_once": round(max(waits), 3), "seconds_a_job": round(sum(waits) / jobs, 3)},
    )


def sweep(tracker: str, jobs: int, folder: Path) -> None:
    """The sweep, with the seconds of each call in `waits.json`."""
    from kdbench import logger, train
    from kdbench.trackio_logger import TrackioLogger
    from kdbench.wandb_logger import WandbLogger

    waits: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*rest: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*rest, **options)
            finally:
                waits.append(time.perf_counter() - start)
                (folder / "waits.json").write_text(json.dumps(waits), encoding="utf-8")

        return measured

    for one in (TrackioLogger, WandbLogger):
        for call in ("log_metrics", "summarise", "show", "close"):
            setattr(one, call, timed(getattr(one, call)))
    starts = f"_{tracker}"
    setattr(logger, starts, timed(getattr(logger, starts)))
    sys.argv = tiny_sweep(jobs, folder, "method=kd", f"logger={tracker}")
    train.main()


if __name__ == "__main__":
    sweep(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
