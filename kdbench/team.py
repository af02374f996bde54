"""A team of teachers in the configuration: each member is a configuration of its own, composed from a few overrides.

    team:
      large: {teacher: {teacher: bert_base}}                        # the fine-tuned teacher of that configuration
      small: {student: {student/size: l4_h384, method: kd}}         # its finished student: an assistant

A member takes over what the run says of data, devices and teachers; the rest are the defaults and seed 0, so that every
run of a sweep has the same team. A member without a method learns the gold labels alone.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from kdbench.error import KdbenchError
from kdbench.grid import as_text, quoted

Role = Literal["teacher", "student"]
ROLES = ("teacher", "student")
COMPLETE = {"role", "config"}
"""The keys of a member whose overrides have become a configuration."""

DEEPEST = 8
"""How many teams may stand behind each other: a member that names its own team never ends."""

GROUPS = ("team", "sampling", "combiner")
INHERITED = frozenset({"data", "paths", "device", "precision", "teacher", "budget", "guards", "fused"})
"""What a member takes over from the run's command line, by the first word of a key."""


@dataclass(frozen=True)
class Member:
    """One teacher of a team: `cfg` is the complete configuration whose teacher, or whose finished student, it is."""

    name: str
    role: Role
    cfg: DictConfig


def members(cfg: DictConfig) -> tuple[Member, ...]:
    """The members of a complete configuration's team, in its order; none where the one teacher teaches."""
    found = []
    for name, node in (cfg.team or {}).items():
        found.append(Member(str(name), node.role, node.config))
    return tuple(found)


def complete_team(
    team: Mapping[str, Any] | None, hydra: DictConfig | None, complete: Callable[[DictConfig], DictConfig], depth: int
) -> dict[str, Any] | None:
    """The node `team` with each member's overrides replaced by the complete configuration that they describe.

    Args:
        team: as it was composed, where a member that is null is left out; None where there is none.
        hydra: of the run; None for a configuration that is complete already.
        complete: makes a composed configuration complete.
        depth: how many teams stand in front of this one.

    Raises:
        KdbenchError: no members, a member that is written wrongly, or a team without an end.
    """
    if team is None:
        return None
    team = {name: node for name, node in team.items() if node is not None}
    if not team:
        raise KdbenchError("team has no members: give it at least one, or leave it out with team=none")
    if depth > DEEPEST:
        raise KdbenchError(
            f"team: more than {DEEPEST} teams stand behind each other, as if a member named its own team: end the "
            "chain with a member that has none"
        )
    found = {}
    for name, node in team.items():
        if not isinstance(node, Mapping) or set(node) != COMPLETE:
            role, overrides = _member(str(name), node)
            node = {"role": role, "config": _composed(str(name), overrides, hydra, complete)}
        found[str(name)] = node
    return found


def _member(name: str, node: Any) -> tuple[Role, Mapping[str, Any]]:
    """The role and the overrides of a member as it is written."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise KdbenchError(f"team.{name}: a member's name has letters, digits, _ and - alone: choose another")
    role, overrides = next(iter(node.items())) if isinstance(node, Mapping) and len(node) == 1 else (None, None)
    if role in ROLES and isinstance(overrides, Mapping):
        return role, overrides
    raise KdbenchError(
        f"team.{name}={node} is no member: write {{teacher: {{...}}}} or {{student: {{...}}}} with overrides, such as "
        "{student: {student/size: l3_h384, method: kd}}"
    )


def _composed(
    name: str, overrides: Mapping[str, Any], hydra: DictConfig | None, complete: Callable[[DictConfig], DictConfig]
) -> dict[str, Any]:
    from hydra.core.global_hydra import GlobalHydra

    from kdbench.composition_error import of_composition, sentence

    if hydra is None or not GlobalHydra.instance().is_initialized():
        raise KdbenchError(f"team.{name} must be composed by Hydra: use kdbench.compose, or the command line")
    own = [f"{key}={_written(value)}" for key, value in overrides.items()]
    alone = [] if "method" in overrides else [*(f"{group}=none" for group in GROUPS), "method=label"]
    words = [*_inherited(hydra), *alone, "seed=0", *own]
    last = {_key(word): word for word in words}  # of the same key the later one counts
    key = (str(hydra.job.config_name), tuple(last.values()), str(hydra.runtime.config_sources))
    try:
        if key not in _COMPOSED:
            _COMPOSED[key] = _compose(*key[:2], complete)
    except KdbenchError as error:
        raise KdbenchError(f"team.{name}: {error}") from error
    except Exception as error:
        if not of_composition(error):
            raise
        raise KdbenchError(f"team.{name}: {sentence(error)}") from error
    return copy.deepcopy(_COMPOSED[key])


_COMPOSED: dict[tuple[str, tuple[str, ...], str], dict[str, Any]] = {}
"""Members by primary configuration, overrides and search path: the cells of a sweep mostly have the same."""


def _compose(config_name: str, words: tuple[str, ...], complete: Callable[[DictConfig], DictConfig]) -> dict[str, Any]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    loader = GlobalHydra.instance().config_loader()
    completed = complete(loader.load_configuration(config_name, list(words), RunMode.RUN))
    plain = OmegaConf.to_container(completed, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_written, value)) + "]"
    return as_text(value) if not isinstance(value, str) else quoted(value)


def _inherited(hydra: DictConfig) -> list[str]:
    task = [str(word) for word in hydra.overrides.task if re.split(r"[./@]", _key(str(word)))[0] in INHERITED]
    return [*(str(word) for word in hydra.overrides.hydra if _key(str(word)) == "hydra.searchpath"), *task]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
