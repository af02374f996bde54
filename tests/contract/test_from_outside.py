"""A new option needs no change to the package: one Python file and one YAML in a folder of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PYTHON = {
    "my_knowledge": '''
from kdbench.knowledge.base import Knowledge
from kdbench.outputs import Taps

VERSION = 3


class Value(Knowledge):
    """The value vectors of every head, (B, H, S, d)."""

    def __init__(self, scale):
        self.scale = scale

    def taps(self, layers):
        return Taps(value=frozenset(layers))

    def extract(self, outputs, layer):
        return self.scale * outputs.value[layer]

    def relate(self, values, tokens):
        return values, tokens[:, None, :, None]
''',
    "my_matching": '''
from kdbench.matching.base import Matching


class Crossed(Matching):
    """The student's layers meet the teacher's from the top down."""

    def pairs(self, student_layers, teacher_layers):
        return [(layer, teacher_layers + 1 - layer) for layer in range(1, student_layers + 1)]
''',
    "my_objective": '''
from kdbench.masking import mean_per_sample


def absolute(student, teacher, mask=None, power=1.0):
    """Mean over a sample's valid elements of |student - teacher|^power."""
    return mean_per_sample((student - teacher).abs() ** power, mask)
''',
}
YAML = {
    "knowledge/mine": """
defaults:
  - /matching@matching: uniform
  - /projection@projection: identity
  - /objective@objective: mse
  - _self_
_target_: my_knowledge.Value
scale: 2.0
""",
    "matching/mine": "_target_: my_matching.Crossed\n",
    "objective/mine": "_target_: my_objective.absolute\n_partial_: true\npower: 1.5\n",
    "student/size/mine": "# @package student\nlayers: 3\nwidth: 32\nheads: 4\nintermediate: 48\n",
}


def write(folder: Path, files: dict[str, str], suffix: str) -> Path:
    for name, text in files.items():
        file = (folder / name).with_suffix(suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip(), encoding="utf-8")
    return folder


def test_options_of_ones_own_run_from_the_console(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    code, conf = write(tmp_path / "code", PYTHON, ".py"), write(tmp_path / "conf", YAML, ".yaml")
    sizes = ("student.layers", "student.width", "student.heads", "student.intermediate")
    overrides = [override for override in tiny() if not override.startswith(sizes)]
    axes = {"knowledge": "mine", "matching": "mine", "objective": "mine", "student/size": "mine"}

    finished = subprocess.run(
        [
            Path(sys.executable).with_name("kdbench"),
            "--config-dir",
            conf,
            *overrides,
            "method=unified",
            "initialization=random",
            "training.max_steps=2",
            "hydra.run.dir=job",
            *(f"{axis}={option}" for axis, option in axes.items()),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 0, finished.stderr
    job = json.loads((tmp_path / "job" / "run.json").read_text(encoding="utf-8"))
    record = json.loads((Path(job["store"]) / "run" / job["signature"] / "record.json").read_text(encoding="utf-8"))
    assert record["axes"].items() >= axes.items()
    term = record["config"]["stages"]["task"]["terms"]["transfer"]
    assert [term[part]["_target_"] for part in ("knowledge", "matching", "objective")] == [
        "my_knowledge.Value",
        "my_matching.Crossed",
        "my_objective.absolute",
    ]
    assert record["config"]["student"]["layers"] == 3
    losses = [entry["train/term/transfer"] for entry in record["history"] if "train/term/transfer" in entry]
    assert losses and losses[-1] > 0
