"""`kdbench --help` is one screen: what it does, the groups and their options, examples; not the whole configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from kdbench.config import CONF_DIR


def said(*arguments: str) -> str:
    front = Path(sys.executable).with_name("kdbench")
    finished = subprocess.run([str(front), *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def help_text() -> str:
    return said("--help")


@pytest.mark.parametrize("group", ["knowledge", "matching", "projection", "objective", "initialization", "method"])
def test_every_option_of_an_axis_is_listed(help_text: str, group: str) -> None:
    options = sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))
    assert f"\n{group}: {', '.join(options)}\n" in help_text


def test_it_is_one_screen_without_the_configuration(help_text: str) -> None:
    assert len(help_text.splitlines()) <= 50
    assert "warmup_share" not in help_text and "kdbench --cfg job" in help_text and "README.md" in help_text


def test_its_examples_compose(help_text: str) -> None:
    lines = help_text.partition("Examples\n")[2].partition("\n\n")[0].splitlines()
    commands = [line.strip().split("   ")[0].split() for line in lines if " -cd " not in line]
    examples = [[word for word in command if "=" in word] for command in commands]
    assert len(examples) >= 3
    for example in examples:
        first_cell = [f"{key}={value.split(',')[0]}" for key, _, value in (word.partition("=") for word in example)]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            assert compose("train", overrides=first_cell).stages


def test_hydras_own_help_still_works() -> None:
    assert "--multirun" in said("--hydra-help")
