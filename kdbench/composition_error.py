"""From Hydra's many lines to one sentence: what could not be found or set, and the nearest that could."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdbench.config import CONF_DIR
from kdbench.error import KdbenchError

WHOLE = "`kdbench --cfg job` shows the whole configuration"
OF_HYDRA = "`kdbench --cfg hydra -p hydra` shows Hydra's own"
ALONE = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of Hydra of which a command has one."""

FEW = 20
"""So many options are listed in a sentence; more are left to the help."""


def of_composition(error: Exception) -> bool:
    """Whether an exception means a mistake in what was asked for, not in a program."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, HydraException | OmegaConfBaseException)


def refuse_flags(arguments: Sequence[str]) -> None:
    """Refuse flags that Hydra does not know or does not take together, and overrides that a flag cuts off.

    Raises:
        KdbenchError: one sentence with the way out.
    """
    from hydra._internal.utils import get_args_parser

    known, unknown = get_args_parser().parse_known_args(arguments)
    if len(given := [f"--{name}" for name in ALONE if getattr(known, name)]) > 1:
        raise KdbenchError(f"{' and '.join(given)} cannot be had at once: leave out all but one")
    if unknown:
        raise KdbenchError(
            f"{unknown[0]} cannot be read: overrides are KEY=VALUE in one row, and flags such as -m come before "
            "them (`kdbench --hydra-help` lists them)"
        )


def sentence(error: Exception) -> str:
    """The mistake, with its key, its value and the way out."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)'", text):
        return _no_option(found[1], text)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _no_key(found[1], text, error)
    if found := re.search(r"Ambiguous value for argument '(.+)'", text):
        return f"{found[1]} names several values: add -m to sweep over them"
    if found := re.search(r"Cannot find primary config '([^']+)'", text):
        return f"--config-name={found[1]} is no configuration file: name its folder too, as in `-cd sweeps -cn demo`"
    if found := re.search(r"Additional config directory '([^']+)'", text):
        return f"--config-dir={found[1]} is no folder: correct its path"
    if found := re.search(r"Error parsing override '(.+)'\n(.+)", text):
        return f"{found[1]} cannot be read ({found[2]}): write KEY=VALUE, with quotes around special characters"
    first = " ".join(re.split(r"\nSee |\nSet the environment", text)[0].split()).rstrip(".")
    return f"{first}: `kdbench --help` shows how a command is written"


def _no_option(path: str, text: str) -> str:
    listed = re.search(r"Available options in '([^']+)'", text)
    group = listed[1] if listed else path.rpartition("/")[0]
    option = path.removeprefix(f"{group}/")
    listing = text.partition("Available options")[2].partition("Config search path")[0]
    options = set(re.findall(r"^\t(\S+)", listing, re.MULTILINE))
    if (folder := CONF_DIR / group).is_dir():  # Hydra lists one folder, not those below it
        options |= {_name(file, folder) for file in folder.rglob("*.yaml") if _is_option(file, group)}
    few = ", ".join(sorted(options)) if len(options) <= FEW else "one that `kdbench --help` lists"
    return f"{group}={option} is no option of {group}: choose {_nearest(option, options) or few}"


def _is_option(file: Path, group: str) -> bool:
    """`student/size` lies below `student`, but is a group of its own."""
    return group != "student" or file.parent.name != "size"


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _no_key(key: str, text: str, error: Exception) -> str:
    from omegaconf import DictConfig

    from kdbench.search.settings import WAY_OUT

    written = re.search(r"To append to your (?:config|default list) use \+(.+)", text)
    whole = OF_HYDRA if key.startswith("hydra.") else WHOLE
    known_elsewhere = next((old for old in WAY_OUT if key == old or key.startswith(f"{old}.")), None)
    if known_elsewhere is not None:
        return f"{known_elsewhere} {WAY_OUT[known_elsewhere]}"
    refusal = f"{written[1] if written else key}: there is no such key"
    cause = error.__cause__
    if cause is None:  # a group, in the package where it is wanted
        near = re.search(r"Did you mean to override (?:one of )?(.+?)\?", text)
        return f"{refusal}: choose {near[1]}" if near else f"{refusal}: {whole}"
    missing, parent = str(getattr(cause, "full_key", key)), getattr(cause, "parent_node", None)
    before, dot, last = missing.rpartition(".")
    known = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
    close = _nearest(last, (name for name in known if name != "hydra"))
    which = f"{refusal} ({missing})" if missing != key else refusal
    return f"{which}: choose {before}{dot}{close}" if close else f"{which}: {whole}"


def _nearest(name: str, options: Iterable[str]) -> str:
    return " or ".join(difflib.get_close_matches(name, sorted(options), n=3, cutoff=0.5))
