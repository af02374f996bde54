"""The wheel carries everything that a user needs who has never seen the repository, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: the build backend is one of the development requirements."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as an installation would leave it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, cwd: Path, *arguments: str) -> str:
    """The output of Python with the unpacked wheel before everything else, far from the repository."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_configuration_file_is_in_it(names: set[str]) -> None:
    assert "kdbench/conf/train.yaml" in names
    files = {file.relative_to(CONF).as_posix() for file in CONF.rglob("*") if file.is_file()}
    assert {f"kdbench/conf/{file}" for file in files} <= names
    assert {name.removeprefix("kdbench/conf/") for name in names if name.startswith("kdbench/conf/")} == files


def test_every_file_of_the_packages_is_in_it(names: set[str]) -> None:
    for package in ("kdbench", "hydra_plugins"):
        files = {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / package).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert files and files <= names, sorted(files - names)
    assert "hydra_plugins/kdbench_sweeper/plan_sweeper.py" in names
    assert any(name.startswith("kdbench/report/") and name.endswith((".html", ".j2", ".jinja")) for name in names)


def test_nothing_else_is_in_it(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kdbench", "hydra_plugins"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    (information,) = (top for top in tops if top.endswith(".dist-info"))
    assert f"{information}/licenses/LICENSE" in names


def test_the_console_commands_are_declared(wheel: Path, names: set[str]) -> None:
    (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(entry_points).decode()
    for command in ("kdbench", "kdbench-report", "kdbench-export", "kdbench-evaluate", "kdbench-store"):
        assert f"\n{command} = " in text


def test_it_composes_its_own_configuration(site: Path, tmp_path: Path) -> None:
    report = (
        "import kdbench, kdbench.config as config, sys\n"
        "cfg = kdbench.compose(['knowledge=hidden', 'student/size=l2_h192'])\n"
        "sys.stdout.write('\\n'.join([kdbench.__file__, str(config.CONF_DIR), str(cfg.student.width)]))"
    )
    package, conf, width = run(site, tmp_path, "-c", report).splitlines()
    assert Path(package).is_relative_to(site)
    assert Path(conf) == site / "kdbench" / "conf"
    assert width == "192"


def test_a_sweep_file_of_ones_own_runs_on_it(site: Path, tmp_path: Path) -> None:
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    (sweeps / "mine.yaml").write_text(
        "# Which depth?\n"
        "defaults: [train, _self_]\n"
        "training: {epochs: 7}\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {student/size: 'l2_h192,l3_h384'}\n",
        encoding="utf-8",
    )
    own = ("-m", "kdbench.train", "-cd", "sweeps", "-cn", "mine", "--cfg")
    assert "epochs: 7\n" in run(site, tmp_path, *own, "job")
    assert "hydra_plugins.kdbench_sweeper.plan_sweeper.PlanSweeper" in run(site, tmp_path, *own, "hydra")


def test_its_sweeper_is_found(site: Path, tmp_path: Path) -> None:
    report = (
        "import sys\n"
        "from hydra.core.plugins import Plugins\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "found = {plugin.__name__: plugin for plugin in Plugins.instance().discover(Sweeper)}\n"
        "import hydra_plugins.kdbench_sweeper as package\n"
        "sys.stdout.write(found['PlanSweeper'].__module__ + '\\n' + package.__file__)"
    )
    module, file = run(site, tmp_path, "-c", report).splitlines()
    assert module == "hydra_plugins.kdbench_sweeper.plan_sweeper"
    assert Path(file).is_relative_to(site)
