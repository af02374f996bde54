"""Single values of the configuration that are of the wrong kind: else they would be noticed late or not at all."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from kdbench.error import KdbenchError
from kdbench.language import is_corpus
from kdbench.teacher_outputs.choice import OUTPUTS
from kdbench.value import choice, positive, share, switch, whole
from kdbench.vocabulary.tables import SUBSTITUTES


def check_values(cfg: DictConfig) -> None:
    """Refuse them; the options of terms, trainings and students are checked where they are built."""
    for key in ("plan", "fused", "guards.preflight", "teacher.train", "teacher.language.train"):
        switch(key, OmegaConf.select(cfg, key))
    for key in ("seed", "teacher.seed", "teacher.language.seed", "data.seed"):
        whole(key, OmegaConf.select(cfg, key), least=0)
    if cfg.vocabulary is not None:
        _vocabulary(cfg)
    choice("guards.teacher_below_start", cfg.guards.teacher_below_start, ("warn", "error"))
    choice("precision.name", cfg.precision.name, ("f32", "bf16"))
    choice("teacher.outputs", cfg.teacher.outputs, OUTPUTS)
    choice("teacher.computed_in", cfg.teacher.computed_in, ("f32", "bf16"))
    choice("teacher.stored_in", cfg.teacher.stored_in, ("f16", "f32"))
    positive("teacher.max_bytes", cfg.teacher.max_bytes)
    whole("teacher.shared_by", cfg.teacher.shared_by)
    whole("teacher.resident", cfg.teacher.resident, null="all of a team")
    choice("device.accelerator", cfg.device.accelerator, ("auto", "cpu", "gpu"))
    stages = [f"stages.{name}." for name in cfg.stages]
    for key in stages:
        whole(f"{key}seed", OmegaConf.select(cfg, f"{key}seed"), least=0)
    for part in ("", "teacher.", "teacher.language.", *stages):
        positive(f"{part}optimizer.lr", OmegaConf.select(cfg, f"{part}optimizer.lr"))
        if (warmup := OmegaConf.select(cfg, f"{part}lr_schedule.warmup_share")) is not None:
            share(f"{part}lr_schedule.warmup_share", warmup)


def _vocabulary(cfg: DictConfig) -> None:
    positive("vocabulary.keep", cfg.vocabulary.keep)
    if cfg.vocabulary.keep > 1:
        whole("vocabulary.keep", cfg.vocabulary.keep)
    whole("vocabulary.multiple", cfg.vocabulary.multiple)
    choice("vocabulary.substitute", cfg.vocabulary.substitute, SUBSTITUTES)
    choice("vocabulary.output", cfg.vocabulary.output, ("reduced", "expanded"))
    choice("vocabulary.teacher_input", cfg.vocabulary.teacher_input, ("original", "mapped"))
    if cfg.corpus is None and not is_corpus(cfg):
        raise KdbenchError("vocabulary=frequent counts the words of a corpus, but there is none: choose one, as "
                           "corpus=wikitext")  # fmt: skip
