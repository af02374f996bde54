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

EXAMPLES = {"sampling": "uniform", "combiner": "mean_probabilities"}
SINGLE = "kdbench.sampling.single.Single"
OWN = "teacher"
"""The name of the one teacher of a run without a team."""


def sampling_of(cfg: DictConfig) -> Sampling:
    """The distribution over the team; even where none is chosen."""
    found: Sampling = Uniform() if cfg.sampling is None else instantiate(cfg.sampling)
    return found


def combiner_class(cfg: DictConfig) -> type[Combiner]:
    """How the team's answers become one lesson, before there are any."""
    made = combiner_of(cfg)
    found: type[Combiner] = made.func if isinstance(made, partial) else made
    return found


def combiner_of(cfg: DictConfig) -> Any:
    """The combiner with its options, to be called with draws and shapes."""
    return Drawn if cfg.combiner is None else instantiate(cfg.combiner)


def teaching_members(cfg: DictConfig) -> tuple[Member, ...]:
    """The members of the team that can teach at all; none where the run's own teacher does, or the labels alone.

    Raises:
        KdbenchError: a team without a word on how it teaches, or such a word without a team.
    """
    chosen = [group for group in ("sampling", "combiner") if cfg[group] is not None]
    if cfg.team is None:
        if chosen:
            raise KdbenchError(f"{chosen[0]} is set, but there is no team to teach: choose one, as team=minilm_layers")
        return ()
    for group in chosen:
        if "_target_" not in cfg[group]:
            raise KdbenchError(f"{group} has options, but no choice: choose one, as {group}={EXAMPLES[group]}")
    found = combiner_class(cfg)
    if cfg.sampling is None and found is Drawn:
        raise KdbenchError(
            "team is set, but not how it teaches: choose sampling=uniform to draw one teacher a step, or "
            "combiner=mean_probabilities to follow all at once"
        )
    if cfg.sampling is not None and not found.sampled:
        raise ImpossibleError(
            f"combiner={found.__name__} has no use for a distribution over the team: leave it out with sampling=null"
        )
    team = members(cfg)
    names = sampling_of(cfg).members([member.name for member in team])
    return tuple(member for member in team if member.name in names)


def pilot(cfg: DictConfig, name: str) -> DictConfig:
    """The configuration in which that member of the team teaches alone, with the seed of the sampling's pilots."""
    alone = copy.deepcopy(cfg)
    OmegaConf.set_struct(alone, False)
    seed = int(cfg.sampling.pilot_seed)
    alone.sampling, alone.combiner, alone.seed = {"_target_": SINGLE, "member": name}, None, seed
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
