"""What a study is about: the searched keys, everything else that its runs have in common, and the order of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdbench.signature import signature

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdbench.search.objective import Constraint, Objective
    from kdbench.search.space import Space

ELSEWHERE = ("hydra", "paths", "device", "logger", "sweep", "plan", "guards")
"""Nodes that change with the machine and with who looks on, and no number of a finished run."""

WITHOUT_EFFECT = {
    "teacher": ("outputs", "max_bytes", "resident", "shared_by"),
    "training": ("checkpoint_every_steps", "log_every_steps"),
}
"""Keys that are of the same kind, by the node that they stand in, wherever that is."""

NAMED_BY = ("space", "fixed", "grid")
"""What a study without a name of its own is named after: another one of these is another study."""


def about(
    space: Space,
    first: DictConfig,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    sampler: Mapping[str, Any],
) -> dict[str, Any]:
    """What a study of one name may not change.

    Args:
        space: of the search.
        first: the composed configuration of one of its points: the first option of every searched group.
        objectives, constraints: of the search.
        sampler: the node `hydra.sweeper.sampler`; a grid gives every slot its values, in an order that the seed draws.
    """
    return {
        "space": space.signature,
        "fixed": fixed(first, [key for key in space.searched if key not in space.groups]),
        "grid": [sampler.get("seed")] if sampler["name"] == "grid" else None,
        "objectives": [each.name for each in objectives],
        "constraints": {each.name: [each.at_most, each.bound] for each in constraints},
    }


def named(of: Mapping[str, Any]) -> str:
    """The name of a study that the command line does not name."""
    return f"search-{signature('study', {key: of[key] for key in NAMED_BY})}"


def fixed(cfg: DictConfig, searched: Sequence[str]) -> str:
    """Sixteen hex digits of a configuration as its files and its command line write it.

    References stay as they are written: what they refer to counts by itself, and a searched key changes with the trial.

    Args:
        cfg: composed, not completed.
        searched: keys that do not count; no groups, below whose options other keys may be fixed.
    """
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    content = _effective({key: value for key, value in plain.items() if key not in ELSEWHERE})
    for key in searched:
        *above, leaf = key.lstrip("+").split(".")
        node: Any = content
        for part in above:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(leaf, None)
    return signature("fixed", content)


def _effective(node: Any, name: str = "") -> Any:
    """A node without the keys that change no number."""
    if isinstance(node, list):
        return [_effective(each) for each in node]
    if not isinstance(node, dict):
        return node
    left_out = WITHOUT_EFFECT.get(name, ())
    return {str(key): _effective(value, str(key)) for key, value in node.items() if key not in left_out}
