"""What is part of a run's name, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kdbench.config import compose
from kdbench.planning import plan_run
from kdbench.store import Store

Overrides = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("knowledge", "differs"), [("value_relation", True), ("gram_features", True), ("hidden", False), ("logits", False)]
)
def test_fused_arithmetic_names_a_run_where_there_may_be_some(
    knowledge: str, differs: bool, tiny: Overrides, store: Store
) -> None:
    names = [
        plan_run(compose(tiny("method=unified", f"knowledge={knowledge}", f"fused={fused}")), store).signature
        for fused in ("true", "false")
    ]
    assert (len(set(names)) == 2) == differs
