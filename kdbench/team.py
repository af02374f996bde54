"""A team of teachers in the configuration: each member is a configuration of its own, composed from a few overrides.

    team:
      large: {teacher: [teacher=bert_base]}                        # the fine-tuned teacher of that configuration
      small: {student: [student/size=l4_h384, method=kd]}          # its finished student: an assistant

A member takes over what the run says of data, devices and teachers; the rest are the defaults, gold labels alone and
seed 0, so that every run of a sweep has the same team.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from kdbench.error import KdbenchError

Role = Literal["teacher", "student"]
ROLES = ("teacher", "student")
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
        ((role, member),) = node.items()
        found.append(Member(str(name), role, member))
    return tuple(found)


def complete_team(
    team: Mapping[str, Any] | None, hydra: DictConfig | None, complete: Callable[[DictConfig], DictConfig], depth: int
) -> dict[str, Any] | None:
    """The node `team` with each member's overrides replaced by the complete configuration that they describe.

    Args:
        team: as it was composed; None where there is none.
        hydra: of the run; None for a configuration that is complete already.
        complete: makes a composed configuration complete.
        depth: how many teams stand in front of this one.

    Raises:
        KdbenchError: no members, a member that is written wrongly, or a team without an end.
    """
    if team is None:
        return None
    if not team:
        raise KdbenchError("team has no members: give it at least one, or leave it out with team=null")
    if depth > DEEPEST:
        raise KdbenchError(
            f"team: more than {DEEPEST} teams stand behind each other, as if a member named its own team: end the "
            "chain with a member that has none"
        )
    found = {}
    for name, node in team.items():
        role, described = _member(str(name), node)
        if not isinstance(described, Mapping):
            described = _composed(str(name), role, described, hydra, complete)
        found[str(name)] = {role: described}
    return found


def _member(name: str, node: Any) -> tuple[Role, Any]:
    """The role, and the overrides or the complete configuration."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise KdbenchError(f"team.{name}: a member's name has letters, digits, _ and - alone: choose another")
    if isinstance(node, Mapping) and len(node) == 1 and (role := next(iter(node))) in ROLES:
        described = node[role]
        texts = isinstance(described, Sequence) and all(isinstance(each, str) for each in described)
        if isinstance(described, Mapping) or (texts and not isinstance(described, str)):
            return role, described
    raise KdbenchError(
        f"team.{name}={node} is no member: write {{teacher: [...]}} or {{student: [...]}} with a list of overrides, "
        "such as {student: [student/size=l3_h384, method=kd]}"
    )


def _composed(
    name: str,
    role: Role,
    overrides: Sequence[str],
    hydra: DictConfig | None,
    complete: Callable[[DictConfig], DictConfig],
) -> dict[str, Any]:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from kdbench.composition_error import of_composition, sentence

    if hydra is None or not GlobalHydra.instance().is_initialized():
        raise KdbenchError(f"team.{name} must be composed by Hydra: use kdbench.compose, or the command line")
    words = [*_inherited(hydra), *(f"{group}=null" for group in GROUPS), "method=label", "seed=0", *overrides]
    last = {_key(word): word for word in words}  # of the same key the later one counts
    try:
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration(hydra.job.config_name, list(last.values()), RunMode.RUN)
        completed = complete(cfg)
    except KdbenchError as error:
        raise KdbenchError(f"team.{name}: {error}") from error
    except Exception as error:
        if not of_composition(error):
            raise
        raise KdbenchError(f"team.{name}: {sentence(error)}") from error
    plain = OmegaConf.to_container(completed, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _inherited(hydra: DictConfig) -> list[str]:
    task = [str(word) for word in hydra.overrides.task if re.split(r"[./@]", _key(str(word)))[0] in INHERITED]
    return [*(str(word) for word in hydra.overrides.hydra if _key(str(word)) == "hydra.searchpath"), *task]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
