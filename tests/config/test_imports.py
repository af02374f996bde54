"""What the package imports: one Lightning, and nothing heavy before a front knows what it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kdbench

PACKAGE = Path(kdbench.__file__).parent
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "hydra_plugins").rglob("*.py")])
HEAVY = ("torch", "transformers", "pandas", "pytorch_lightning", "datasets", "sklearn", "scipy", "matplotlib", "wandb")


def imported(source: Path) -> set[str]:
    """The names of every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_lightning_is_pytorch_lightning() -> None:
    """The classes of the two distributions are not each other's, so their mixture fails late."""
    found = {source: imported(source) for source in SOURCES}
    assert any("pytorch_lightning" in names for names in found.values())
    for source, names in found.items():
        assert not any(name.split(".")[0] == "lightning" for name in names), source


@pytest.mark.parametrize(
    "module",
    [
        "kdbench",
        "kdbench.train",
        "kdbench.evaluate",
        "kdbench.export",
        "kdbench.store_command",
        "kdbench.report.command",
    ],
)
def test_a_front_starts_without_heavy_imports(module: str) -> None:
    report = f"import sys, {module}; sys.stdout.write(' '.join(set({HEAVY!r}) & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert finished.stdout == ""
