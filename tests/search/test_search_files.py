"""Every file of `sweeps/search/` is a search: its space can be read, and every key of it is one of a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SWEEPS = Path(__file__).parents[2] / "sweeps"
FILES = sorted((SWEEPS / "search").glob("*.yaml"))
FRONT = """
import sys; sys.argv[0] = "kdbench"
from kdbench.search.search import Search
Search.run = lambda *rest: None
from kdbench.train import main; main()
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_search_opens_its_study(file: Path, tmp_path: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert any(f"kdbench -cd sweeps -cn search/{file.stem}" in line for line in lines)
    command = ["-cd", str(SWEEPS), "-cn", f"search/{file.stem}", f"paths.store={tmp_path}"]
    more = ["hydra.sweeper.n_trials=3", f"hydra.sweep.dir={tmp_path / 'search'}"]
    done = subprocess.run([sys.executable, "-c", FRONT, *command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 3 trials: 0 finished, 0 pruned" in done.stdout and (tmp_path / "studies.db").is_file()
