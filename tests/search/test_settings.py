"""What of `hydra.sweeper` is refused before anything is composed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kdbench.error import KdbenchError
from kdbench.search.settings import Settings

GOOD = Settings(20, 1, ["score"], None, None, {"name": "tpe"}, {"name": "none"}, None, None, False, 0.0)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("n_trials", 0, "n_trials=0 must be a whole number of at least 1"),
        ("warm_start", "yes", "warm_start=yes must be true or false"),
        ("max_failure_rate", 2, "must be a number from 0 to 1"),
        ("sampler", "tpe", "sampler=tpe has no name: choose one, as hydra/sweeper/sampler="),
        ("pruner", {"n_warmup_steps": 3}, "has no name: choose one, as hydra/sweeper/pruner="),
        ("storage", 3, "storage=3 must be a file or a URL, or null for studies.db in the store"),
    ],
)
def test_a_value_that_means_nothing_is_refused(key: str, value: Any, sentence: str) -> None:
    GOOD.check()
    with pytest.raises(KdbenchError, match=sentence):
        replace(GOOD, **{key: value}).check()
