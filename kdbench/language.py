"""The side of a run that learns from a corpus: which stages do, and the language model that teaches them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbench.config import instantiate, plain
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.teaching import distils

SETTINGS = ("train", "seed", "training", "optimizer", "lr_schedule")
"""Of a teacher's making; those of the language model stand under `teacher.language`."""


def is_corpus(cfg: DictConfig) -> bool:
    """Whether the run's own data is a corpus."""
    return str(cfg.data.kind) == "words"


def corpus_stages(cfg: DictConfig) -> list[str]:
    """The stages that learn from a corpus which is not the run's own data.

    Raises:
        KdbenchError: no corpus.
        ImpossibleError: a last stage whose student could not be scored on the run's data.
    """
    found = [str(name) for name, stage in cfg.stages.items() if stage.data == "corpus"]
    if not found or is_corpus(cfg):
        return []
    if cfg.corpus is None:
        raise KdbenchError(f"stages.{found[0]} learns from a corpus, but there is none: choose one, as corpus=wikitext")
    last = str(list(cfg.stages)[-1])
    if last in found:
        raise ImpossibleError(
            f"stages.{last} is the last and learns from a corpus, so that its student has no answers for data="
            f"{cfg.data.name}: choose data=corpus, or a method that ends on the task"
        )
    return found


def data_of(cfg: DictConfig, stage: str) -> dict[str, Any]:
    """The data that a stage learns from, as plain values: the run's own, or its corpus."""
    found: dict[str, Any] = plain(cfg.corpus if stage in corpus_stages(cfg) else cfg.data)
    return found


def augmentation_node(cfg: DictConfig, stage: str) -> dict[str, Any]:
    """What makes versions of a stage's rows: the masking of a corpus, or the run's augmentation of a task."""
    data = data_of(cfg, stage)
    found: dict[str, Any] = data["masking"] if data["kind"] == "words" else plain(cfg.augmentation)
    return found


def begins_with_language(cfg: DictConfig) -> bool:
    """Whether the teacher of a task begins as the language model that is trained on the corpus: it answers in words,
    and its folder brings no vocabulary head.

    Raises:
        KdbenchError: no corpus to train it on.
    """
    if is_corpus(cfg) or str(cfg.data.get("format", "head")) != "cloze" or not cfg.teacher.train:
        return False
    if not cfg.teacher.language.train:
        return False
    if cfg.corpus is None:
        raise KdbenchError(
            f"data.format=cloze needs a language model, and teacher.model={cfg.teacher.model} becomes one on a corpus: "
            "choose one, as corpus=wikitext, or data.format=head"
        )
    return True


def reads_teacher(cfg: DictConfig, stages: Sequence[str] | None = None) -> bool:
    """Whether the teacher of a corpus is asked for: by a term of these stages (None: of all), by the student's
    beginning, or for what words are near to each other."""
    chosen = [str(name) for name in cfg.stages] if stages is None else list(stages)
    begins = str(next(iter(cfg.stages))) in chosen and instantiate(cfg.initialization).needs_teacher
    embeds = cfg.vocabulary is not None and cfg.vocabulary.substitute != "unknown"
    return begins or embeds or any(distils(plain(cfg.stages[name])) for name in chosen)


def language_cfg(cfg: DictConfig) -> DictConfig:
    """The configuration whose teacher is the language model on the corpus: `data` is the corpus, and `teacher` has the
    settings of its node `language`."""
    alone = copy.deepcopy(cfg)
    OmegaConf.set_struct(alone, False)
    if not is_corpus(cfg):
        alone.data = plain(cfg.corpus)
    alone.teacher = {**plain(cfg.teacher), **{name: plain(cfg.teacher.language[name]) for name in SETTINGS}}
    alone.team = alone.sampling = alone.combiner = None
    OmegaConf.set_struct(alone, True)
    return alone
