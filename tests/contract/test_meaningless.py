"""Comparisons that can be computed, or crash, but mean nothing: they must be refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdbench.check import check
from kdbench.config import compose
from kdbench.error import ImpossibleError

REGRESSION = ("data.kind=regression", "data.labels=[]", "data.metrics=[pearson]")
MEANINGLESS = [
    # class labels have one objective, and it has nothing else to compare with
    *(("classification", "label", objective) for objective in ("cosine", "kl", "mse", "soft_cross_entropy")),
    *(("classification", knowledge, "cross_entropy") for knowledge in ("attention", "hidden", "logits")),
    *(("regression", knowledge, "cross_entropy") for knowledge in ("attention", "hidden")),
]


@pytest.mark.parametrize(("kind", "what", "how_far"), MEANINGLESS)
def test_a_meaningless_comparison_is_refused(
    tiny: Callable[..., list[str]], kind: str, what: str, how_far: str
) -> None:
    task = REGRESSION if kind == "regression" else ()
    with pytest.raises(ImpossibleError):
        check(compose(tiny("method=unified", f"knowledge={what}", f"objective={how_far}", *task)))


@pytest.mark.parametrize("how_far", ["cosine", "kl", "cross_entropy", "soft_cross_entropy"])
def test_on_a_regression_an_objective_without_values_gives_way(tiny: Callable[..., list[str]], how_far: str) -> None:
    """A single number has neither a direction nor classes; what takes the objective's place stands in the config."""
    cfg = compose(tiny("method=unified", "knowledge=logits", f"objective={how_far}", *REGRESSION))
    assert cfg.stages.task.terms.transfer.objective._target_ == "kdbench.objective.mse.mse"
    check(cfg)
