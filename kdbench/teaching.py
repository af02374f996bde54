"""How a run is taught, from its configuration: by its one teacher, or by a team through a sampling or a combiner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.combiner.base import Combiner
from kdbench.combiner.drawn import Drawn
from kdbench.config import instantiate, plain
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.sampling.base import Sampling
from kdbench.sampling.uniform import Uniform
from kdbench.team import Member, members

SINGLE = "kdbench.sampling.single.Single"
OWN = "teacher"
"""The name of the one teacher of a run without a team."""


def distils(stage: Mapping[str, Any]) -> bool:
    """Whether a completed stage learns from more than labels."""
    return not all(instantiate(term["knowledge"]).from_labels for term in stage["terms"].values())


def sampling_of(cfg: DictConfig) -> Sampling:
    """The distribution over the team; even where none is chosen."""
    found: Sampling = Uniform() if cfg.sampling is None else instantiate(cfg.sampling)
    return found


def combiner_of(cfg: DictConfig, stage: str) -> Any:
    """The combiner of a stage with its options, to be called with draws and shapes."""
    node = cfg.stages[stage].combiner
    return Drawn if node is None else instantiate(node)


def combiner_class(cfg: DictConfig, stage: str) -> type[Combiner]:
    """How the team's answers become one lesson in a stage, before there are any."""
    made = combiner_of(cfg, stage)
    found: Any = made.func if isinstance(made, partial) else made
    assert issubclass(found, Combiner)
    return found


def teaching_members(cfg: DictConfig) -> tuple[Member, ...]:
    """The members of the team that can teach at all; none where the run's own teacher does, or the labels alone.

    Raises:
        KdbenchError: a team without a word on how it teaches, or such a word without a team.
    """
    stages = [str(name) for name, stage in cfg.stages.items() if distils(plain(stage))]
    chosen = {"sampling": cfg.sampling}
    chosen |= {f"stages.{stage}.combiner": cfg.stages[stage].combiner for stage in stages}
    chosen = {key: node for key, node in chosen.items() if node is not None}
    for key, node in chosen.items():
        if "_target_" not in node:
            raise KdbenchError(f"{key} has options, but no choice: choose one, as sampling=uniform or combiner=mean")
    if cfg.team is None:
        if chosen and stages:
            raise KdbenchError(
                f"{min(chosen)} is set, but there is no team to teach: choose one, as team=minilm_layers"
            )
        return ()
    for stage in stages:
        _says_how(cfg, stage)
    team = members(cfg)
    names = sampling_of(cfg).members([member.name for member in team])
    return tuple(member for member in team if member.name in names)


def _says_how(cfg: DictConfig, stage: str) -> None:
    """Refuse a team without a word on how it teaches, and a distribution that nothing uses."""
    found = combiner_class(cfg, stage)
    if cfg.sampling is None and found is Drawn:
        raise KdbenchError(
            "team is set, but not how it teaches: choose sampling=uniform to draw one teacher a step, or "
            "combiner=mean_probabilities to follow all at once"
        )
    if cfg.sampling is not None and not found.sampled:
        raise ImpossibleError(
            f"combiner={found.__name__} has no use for a distribution over the team: leave it out with sampling=none"
        )


def pilot(cfg: DictConfig, name: str) -> DictConfig:
    """The configuration in which that member of the team teaches alone, with the seed of the sampling's pilots."""
    alone = copy.deepcopy(cfg)
    OmegaConf.set_struct(alone, False)
    seed = int(cfg.sampling.pilot_seed)
    alone.sampling, alone.combiner, alone.seed = {"_target_": SINGLE, "member": name}, None, seed
    for stage in alone.stages.values():
        stage.combiner = None
        if stage.seed == cfg.seed:  # not one of its own
            stage.seed = seed
    alone.axes = {**plain(cfg.axes), "sampling": "single", "sampling.member": name, "seed": str(seed)}
    OmegaConf.set_struct(alone, True)
    return alone


def refuse_unmergeable(key: str, term: Mapping[str, Any], combiner: type[Combiner]) -> None:
    """Refuse a term that a combiner which makes one target of logits cannot teach."""
    knowledge = instantiate(term["knowledge"])
    if not combiner.merges or knowledge.from_labels:
        return
    if knowledge.layered or knowledge.kind != "logits":
        raise ImpossibleError(
            f"{key} compares more than the teachers' answers, but combiner={combiner.__name__} makes one target of "
            "logits alone: choose combiner=mean, or knowledge=logits"
        )
    if isinstance(term["objective"].get("temperature"), Mapping):
        raise ImpossibleError(
            f"{key}.objective.temperature depends on the row, at which combiner={combiner.__name__} cannot average: "
            "give a number, or choose combiner=mean"
        )
