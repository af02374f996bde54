"""Every option of every group composes, alone and with the rest of the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR, complete

SIZES, PRIMARY = "student/size", ("train", "evaluate")
NESTED = {
    "student/factors": ["student=kronecker"],
    "student/classifier": ["student=cmow"],
    "hydra/sweeper/sampler": ["hydra/sweeper=optuna"],
    "hydra/sweeper/pruner": ["hydra/sweeper=optuna"],
}
"""The option of another group that has a group of its own."""
WITH = {"data=corpus": ["corpus=generated"]}
"""What an option points at."""

BY_PACKAGE = ("term", "schedule", "temperature", "stage")
"""Groups without a node of their own: their files are put where a method wants them."""


def options() -> list[str]:
    """`group=option` for every file; a folder without a file beside it is a group, `glue/rte` is an option of data."""
    found = []
    for file in sorted(CONF_DIR.rglob("*.yaml")):
        path = file.relative_to(CONF_DIR).with_suffix("").as_posix()
        if path in PRIMARY:
            continue
        group = next(
            (nested for nested in (SIZES, *NESTED, "hydra/help", "hydra/sweeper") if path.startswith(f"{nested}/")),
            path.split("/")[0],
        )
        if group not in BY_PACKAGE:
            found.append(f"{group}={path.removeprefix(f'{group}/')}")
    return found


def missing(node: Any, key: str = "") -> list[str]:
    if isinstance(node, Mapping):
        pairs = [(f"{key}.{name}".lstrip("."), value) for name, value in node.items()]
        return [found for name, value in pairs for found in missing(value, name)]
    return [key] if node == "???" else []


def composed(*overrides: str, name: str = "train") -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose(name, overrides=list(overrides)), resolve=False)  # type: ignore


@pytest.mark.parametrize("option", options())
def test_an_option_composes(option: str) -> None:
    """And completes as soon as what it leaves to the user, or to the files that begin with it, is given."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        more = next((own for group, own in NESTED.items() if option.startswith(group)), WITH.get(option, []))
        cfg = compose("train", overrides=[*more, option], return_hydra_config=True)
        own = OmegaConf.masked_copy(cfg, [name for name in cfg if name != "hydra"])
        for key in missing(OmegaConf.to_container(own)):
            OmegaConf.update(cfg, key, "given")
        assert missing(OmegaConf.to_container(complete(cfg))) == []


@pytest.mark.parametrize("name", PRIMARY)
def test_a_primary_file_composes(name: str) -> None:
    assert composed(name=name)


def test_the_defaults_leave_nothing_open() -> None:
    assert missing(composed()) == []


def test_a_term_composes_wherever_it_is_put() -> None:
    for file in (CONF_DIR / "term").glob("*.yaml"):
        cfg = composed(f"+term@stages.task.terms.another={file.stem}")
        assert set(cfg["stages"]["task"]["terms"]["another"]) >= {"weight", "knowledge"}


def test_every_folder_of_options_was_found() -> None:
    groups = {option.partition("=")[0] for option in options()} | set(BY_PACKAGE)
    folders = {file.parent.relative_to(CONF_DIR).as_posix() for file in CONF_DIR.rglob("*.yaml")} - {"."}
    assert {folder for folder in folders if folder.split("/")[0] not in groups and folder not in groups} == set()
    assert Path(CONF_DIR / SIZES).is_dir()
