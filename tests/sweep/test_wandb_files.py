"""The sweeps that W&B's server drives: what an agent would run composes, and its run is the sweep's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

import kdbench
from tests.offline_wandb import read_run

FILES = sorted((Path(__file__).parents[2] / "sweeps" / "wandb").glob("*.yaml"))
FRONT = "import sys; sys.argv[0] = 'kdbench'; from kdbench.train import main; main()"


def name(path: Path) -> str:
    return path.stem


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def values(parameter: Mapping[str, Any]) -> list[Any]:
    """Each value of a list, or the ends of an interval."""
    if "value" in parameter:
        return [parameter["value"]]
    return list(parameter.get("values") or [parameter["min"], parameter["max"]])


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_combination_composes(path: Path) -> None:
    parameters = read(path)["parameters"]
    for combination in product(*map(values, parameters.values())):
        overrides = [f"{key}={value}" for key, value in zip(parameters, combination, strict=True)]
        kdbench.compose(overrides)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_an_agent_runs_our_command_and_finds_its_metric(path: Path) -> None:
    """`${args_no_hyphens}` writes each parameter as `key=value`, which is Hydra's grammar."""
    content = read(path)
    assert content["command"] == ["${env}", "kdbench", "${args_no_hyphens}"] and content["program"] == "kdbench"
    cfg = kdbench.compose([f"{key}={values(each)[0]}" for key, each in content["parameters"].items()])
    split, _, metric = content["metric"]["name"].partition("/")
    assert split == "validation" and metric in cfg.data.metrics and content["metric"]["goal"] == "maximize"
    assert cfg.logger.wandb is not None


def test_the_run_of_an_agent_is_the_one_that_the_sweep_asked_for(
    tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """An agent says so in the environment."""
    own = [sys.executable, "-c", FRONT, *tiny("method=label", "logger=wandb", f"hydra.run.dir={tmp_path / 'run'}")]
    agent = {"WANDB_SWEEP_ID": "sweep123", "WANDB_RUN_ID": "run12345", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    done = subprocess.run(own, capture_output=True, text=True, env={**os.environ, **agent}, check=False)
    assert done.returncode == 0, done.stderr
    found = read_run(tmp_path / "run")
    assert (found["sweep"], found["id"]) == ("sweep123", "run12345")
    assert "validation/accuracy" in found["summary"]
