"""The presets of Galke et al. 2022 have its numbers."""

from __future__ import annotations

from typing import Any

import pytest

import kdbench
from kdbench.config import plain

GENERAL = {"soft": (5.0, 2.0), "words": (2.0, None)}
TASK = {"label": (0.5, None), "soft": (0.5, 1.0)}


def composed(method: str) -> Any:
    return kdbench.compose(["data=glue/rte", f"method={method}"])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("cmow_task", {"task": TASK}),
        ("cmow_general", {"general": GENERAL, "task": {"label": (1.0, None)}}),
        ("cmow_two_stage", {"general": GENERAL, "task": TASK}),
    ],
)
def test_weights_and_temperatures(method: str, expected: dict[str, Any]) -> None:
    cfg = composed(method)

    def numbers(node: Any) -> dict[str, Any]:
        return {
            name: (term["weight"], term["objective"].get("temperature")) for name, term in plain(node.terms).items()
        }

    assert {stage: numbers(node) for stage, node in cfg.stages.items()} == expected
    assert cfg.student._target_ == "kdbench.student.cmow.cmow"
    assert {node.optimizer.weight_decay for node in cfg.stages.values()} == {0.0}


@pytest.mark.parametrize("method", ["cmow_general", "cmow_two_stage"])
def test_the_stage_on_the_corpus(method: str) -> None:
    cfg = composed(method)
    stage, masking = cfg.stages.general, cfg.corpus.masking
    assert (masking.rate, masking.masked, masking.random, masking.rarity, masking.exact) == (0.15, 0.8, 0.1, 0.7, True)
    assert stage.terms.soft.knowledge.positions == "real"
    assert (stage.training.epochs, stage.lr_schedule.warmup_share) == (1, 0.05)
    optimizer = stage.optimizer
    assert (optimizer.lr, list(optimizer.betas), optimizer.eps) == (5e-4, [0.9, 0.98], 1e-6)
    assert cfg.optimizer.lr != optimizer.lr, "of the corpus alone"
