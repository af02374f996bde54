"""Run the benchmarks, print their table and write it with all figures.

    python -m benchmarks --quick|--full [--only sweep --only output_reading ...] --out FOLDER

Every module measures kdbench beside its peers in one process on one thread, in turns (A B, B A, ...), after checking
that both compute the same. --full decides; --quick takes one or two rounds of small sizes and asks a third of a gain.
A peer that is not installed (see peer.py) leaves its line `skipped`, a missing GPU `not measured`; a missed gate ends
with status 1. FOLDER gets benchmarks.json, benchmarks.md and students_per_hour.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import peer
from benchmarks.figure import draw
from benchmarks.line import Line, as_json, table
from kdbench.quiet import quiet_libraries

MODULES = (
    "sweep",
    "command_line",
    "single_run",
    "padding",
    "relation_loss",
    "word_prediction",
    "kronecker",
    "cmow",
    "output_reading",
    "step_overhead",
    "team",
    "many_jobs",
    "trackers",
    "accelerator",
)
"""Each has `lines(full: bool) -> list[Line]`."""
LIBRARIES = ("torch", "transformers", "pytorch-lightning", "numpy")
PEERS = ("textbrewer", "torchdistill", "liger-kernel")


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    names = options.only or MODULES
    modules = {name: import_module(f"benchmarks.{name}") for name in names}
    quiet_libraries()
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    lines: list[Line] = []
    seconds: dict[str, float] = {}
    for name, module in modules.items():
        start = time.perf_counter()
        lines += module.lines(options.full)
        seconds[name] = time.perf_counter() - start
        print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        write(lines, seconds, options.full, options.out)  # each time, so that a failure loses nothing
    print((options.out / "benchmarks.md").read_text(encoding="utf-8"))
    missed = [line.id for line in lines if line.verdict(not options.full) == "missed"]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    effort = parser.add_mutually_exclusive_group(required=True)
    effort.add_argument("--quick", dest="full", action="store_false")
    effort.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", choices=MODULES)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def write(lines: Sequence[Line], seconds: dict[str, float], full: bool, folder: Path) -> None:
    """The table, the figures and the chart."""
    quick, about = not full, machine()
    folder.mkdir(parents=True, exist_ok=True)
    told = ", ".join(f"{key} {value}" for key, value in about.items())
    (folder / "benchmarks.md").write_text(f"{table(lines, quick)}\n\n{told}\n", encoding="utf-8")
    report: dict[str, Any] = {"effort": "full" if full else "quick", "machine": about, "seconds": seconds}
    report["lines"] = [as_json(line, quick) for line in lines]
    (folder / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(lines, folder / "students_per_hour.svg")


def machine() -> dict[str, str]:
    """What the figures depend on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    threads = str(torch.get_num_threads())
    found = {"processor": processor(), "cores": str(os.cpu_count()), "threads": threads, "GPU": gpu}
    libraries = {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    return found | libraries | {name: peer.version(name) or "not installed" for name in PEERS}


def processor() -> str:
    """The processor's name as Linux has it, or its architecture."""
    path = Path("/proc/cpuinfo")
    told = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in told if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
