"""Every option of every group: its target imports, its keys are the target's parameters, its module has a VERSION."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import kdbench
from kdbench.config import CONF_DIR

# What a target is given when it is called, by group: no keys of a YAML.
RUNTIME = {
    "knowledge": set(),
    "matching": set(),
    "projection": {"student_width", "teacher_width", "student_layers", "teacher_layers"},
    "objective": {"student", "teacher", "mask"},
    "initialization": set(),
    "student": {"vocabulary", "head", "padding_id"},
    "augmentation": set(),
    "lr_schedule": {"step", "steps"},
    "schedule": {"progress"},
    "temperature": {"student", "teacher", "mask"},
    "optimizer": {"params"},
}
PARTIAL = {"projection", "objective", "lr_schedule", "schedule", "temperature", "optimizer"}
CUSTOMARY = {"matching", "projection", "objective", "objective_regression"}
FILES = [path for group in RUNTIME for path in sorted((CONF_DIR / group).glob("*.yaml"))]


def name(path: Path) -> str:
    return str(path.relative_to(CONF_DIR).with_suffix(""))


def keys(path: Path) -> set[str]:
    """The keys of an option, with those that its defaults list brings; of a student those that it is completed to."""
    if path.parent.name == "student":
        return set(completed(path.stem).student) - {"_target_"}
    raw: Any = OmegaConf.to_container(OmegaConf.load(path))
    brought = {entry.partition("@")[2] for item in raw.pop("defaults", []) if isinstance(item, dict) for entry in item}
    return (set(raw) | brought) - {"_target_", "_partial_"}


@cache
def completed(student: str) -> DictConfig:
    return kdbench.compose([f"student={student}", "initialization=random"])


def target(path: Path) -> tuple[Any, Any]:
    """The module and the callable that an option names, or that the option it extends does."""
    node: Any = OmegaConf.load(path)
    node = node.get(path.parent.name, node)
    if "_target_" not in node:
        return target(path.with_stem(node.defaults[0]))
    module, _, attribute = str(node._target_).rpartition(".")
    imported = import_module(module)
    return imported, getattr(imported, attribute)


def test_the_groups_are_there() -> None:
    assert {path.parent.name for path in FILES} == set(RUNTIME)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_keys_are_the_parameters_of_the_target(path: Path) -> None:
    module, called = target(path)
    group = path.parent.name
    parameters = set(inspect.signature(called).parameters) - {"self"}
    given = keys(path) - (CUSTOMARY if group == "knowledge" else set())
    assert parameters >= RUNTIME[group]
    assert given <= parameters
    if module.__name__.startswith("kdbench."):  # of another library's class a YAML names what it changes
        assert parameters - RUNTIME[group] - given == set()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_target_that_is_called_later_is_partial(path: Path) -> None:
    partial = OmegaConf.load(path).get("_partial_", False)
    assert partial == (path.parent.name in PARTIAL)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_module_has_a_version_and_the_target_a_docstring(path: Path) -> None:
    module, called = target(path)
    if module.__name__.startswith("kdbench."):
        assert type(module.VERSION) is int and module.VERSION >= 1
        first = (called.__doc__ or "").partition("\n")[0]
        assert first.endswith((".", ":")) or ". " in first, "the first line is a row of a table of options"


@pytest.mark.parametrize("path", sorted((CONF_DIR / "knowledge").glob("*.yaml")), ids=name)
def test_customary_choices_are_complete(path: Path) -> None:
    _, called = target(path)
    slots = keys(path) & CUSTOMARY
    assert "objective" in slots
    assert ({"matching", "projection"} <= slots) == called.layered


def test_every_module_of_an_option_folder_is_an_option() -> None:
    """A Python file that no YAML names is one that nobody can choose, or what several options share."""
    for group in ("knowledge", "matching", "projection", "objective", "schedule", "temperature", "initialization"):
        files = {path.stem: path for path in (Path(import_module(f"kdbench.{group}").__path__[0])).glob("*.py")}
        named = {target(path)[0].__name__.rpartition(".")[2] for path in (CONF_DIR / group).glob("*.yaml")}
        assert named <= set(files), group
        for shared in set(files) - named - {"__init__", "base"}:
            importing = f"from kdbench.{group}.{shared} import"
            users = [name for name, path in files.items() if importing in path.read_text(encoding="utf-8")]
            assert len(users) > 1, f"{group}/{shared} is no option, and fewer than two options use it"
