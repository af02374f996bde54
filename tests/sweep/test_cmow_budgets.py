"""What the budgets of `sweeps/cmow` change in a run, and that without a budget nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kdbench
from kdbench.check import check
from kdbench.config import plain

SWEEPS = Path(__file__).parents[2] / "sweeps"
TWO_STAGE = ("student=cmow", "method=cmow_two_stage")


def cell(budget: str, *overrides: str) -> Any:
    """The configuration of one cell of cmow/claims."""
    given = [f"budget={budget}", "budget.lr=1e-3", "budget.text_lr=5e-4", "initialization=random", *overrides]
    return kdbench.compose(given, "cmow/claims", SWEEPS)


@pytest.mark.parametrize(
    ("budget", "corpus", "positions", "dropout"),
    [("smoke", "generated", "masked", 0.0), ("cpu", "wikitext", "masked", 0.0), ("gpu", "wikitext_103", "real", 0.1)],
)
def test_a_budget_says_where_words_are_compared_and_what_is_dropped(
    budget: str, corpus: str, positions: str, dropout: float
) -> None:
    cfg = cell(budget, *TWO_STAGE, f"corpus={corpus}", "data=glue/rte")
    assert cfg.stages.general.terms.soft.knowledge.positions == positions
    assert cfg.student.embedding_dropout == dropout


def test_without_a_budget_all_real_tokens_are_compared_and_nothing_is_dropped() -> None:
    cfg = kdbench.compose(["data=glue/rte", *TWO_STAGE])
    assert plain(cfg.stages.general.terms.soft.knowledge) == {
        "_target_": "kdbench.knowledge.vocabulary_logits.VocabularyLogits",
        "positions": "real",
        "reduction": "valid",
    }
    assert cfg.student.embedding_dropout == 0.0


def test_the_gpu_s_corpus_stage_is_the_paper_s_and_its_patience_is_the_task_s_alone() -> None:
    cfg = cell("gpu", *TWO_STAGE, "corpus=wikitext_103", "data=glue/stsb_binned")
    general, task = cfg.stages.general, cfg.stages.task
    assert (general.optimizer.lr, list(general.optimizer.betas), general.optimizer.eps) == (5e-4, [0.9, 0.98], 1e-6)
    assert general.lr_schedule.warmup_share == 0.05
    assert general.training.batch_size // general.training.accumulate == 8
    assert (general.training.patience, task.training.patience) == (None, 5)
    assert (cfg.corpus.masking.rarity, cfg.corpus.masking.exact) == (0.7, True)
    assert cfg.corpus.hub.name == "wikitext-103-v1"


@pytest.mark.embedded
def test_a_transformer_has_the_corpus_stage_too() -> None:
    overrides = ("student=bert", "student/size=l2_h64", "method=cmow_two_stage", "corpus=generated", "data=generated")
    checked = check(cell("smoke", *overrides))
    assert set(checked.taps) == {"general", "task"}
