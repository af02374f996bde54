"""The configuration files themselves: few lines, few repetitions, and the package's own shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import kdbench
from kdbench.config import CONF_DIR

PACKAGE = Path(kdbench.__file__).parent
FILES = sorted(CONF_DIR.rglob("*.yaml"))
PRESETS = ("method", "stage", "experiment")
"""Groups whose files choose among the options of others."""

LONG = {
    "train.yaml": "the primary file of a run: names every group",
    "evaluate.yaml": "the primary file of an evaluation",
    "teacher/fine_tuning.yaml": "what every teacher shares: its training, and what becomes of its outputs",
    "hydra/help/kdbench.yaml": "the text of --help",
    "data/base.yaml": "explains every key of a data set, once for all of them",
    "corpus/base.yaml": "explains every key of a corpus, once for all of them",
    "student/cmow.yaml": "explains every option of an architecture of our own",
    "training/default.yaml": "explains every key of a training, once for all of them",
}
SIZES = "student/size"
"""A table of four numbers a row, one file a row: numbers that recur there are no repetition."""


def name(file: Path) -> str:
    return file.relative_to(CONF_DIR).as_posix()


def lines(file: Path) -> list[str]:
    """What is neither blank nor a comment."""
    text = file.read_text(encoding="utf-8").splitlines()
    return [line.rstrip() for line in text if line.strip() and not line.lstrip().startswith("#")]


def distinct_share(files: list[Path]) -> float:
    """The share of lines that no other file of the same folder has."""
    found = {file: lines(file) for file in files}
    distinct = total = 0
    for file, own in found.items():
        siblings = {
            line for other, text in found.items() if other != file and other.parent == file.parent for line in text
        }
        distinct += sum(line not in siblings for line in own)
        total += len(own)
    return distinct / total


def keys(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key
            yield from keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from keys(value)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_every_key_is_a_string(file: Path) -> None:
    """YAML reads `on:`, `off:`, `yes:` and `no:` as truth values."""
    assert all(isinstance(key, str) for key in keys(OmegaConf.to_container(OmegaConf.load(file))))


def test_most_lines_stand_in_one_file_only() -> None:
    assert distinct_share([file for file in FILES if not name(file).startswith(f"{SIZES}/")]) >= 0.6


def test_the_share_counts_what_a_sibling_repeats(tmp_path: Path) -> None:
    for folder, text in (("a", "x: 1\ny: 2\n"), ("b", "# c\n\nx: 1\nz: 3\n"), ("other/c", "x: 1\n")):
        file = tmp_path / f"{folder}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert distinct_share(sorted(tmp_path.rglob("*.yaml"))) == pytest.approx(3 / 5)


def test_no_two_files_of_a_group_say_the_same() -> None:
    seen: dict[tuple[Path, tuple[str, ...]], str] = {}
    for file in FILES:
        key = (file.parent, tuple(lines(file)))
        assert key not in seen, f"{name(file)} repeats {seen[key]}"
        seen[key] = name(file)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_is_short(file: Path) -> None:
    """15 lines for an option, 30 for a preset, no more than 40 for anything."""
    limit = 40 if name(file) in LONG else 30 if name(file).startswith(PRESETS) else 15
    assert len(file.read_text(encoding="utf-8").splitlines()) <= limit


def test_every_exception_is_there() -> None:
    assert set(LONG) <= {name(file) for file in FILES}


@pytest.mark.parametrize(
    "folder", ["knowledge", "matching", "objective", "projection", "initialization", "student", "data"]
)
def test_a_package_folder_has_its_group(folder: str) -> None:
    assert (PACKAGE / folder / "__init__.py").is_file()
    assert any((CONF_DIR / folder).glob("*.yaml"))


@pytest.mark.parametrize("folder", ["knowledge", "matching", "objective", "projection", "schedule", "temperature"])
def test_an_option_has_the_word_of_its_module(folder: str) -> None:
    """The same word for the file, the option and the column of a table; variants of one module add a word to it."""
    for option in (CONF_DIR / folder).glob("*.yaml"):
        module = str(OmegaConf.load(option)["_target_"]).split(".")[-2]
        said = (PACKAGE / folder / f"{module}.py").read_text(encoding="utf-8")
        assert module in option.stem or f"`{option.stem}`" in said
