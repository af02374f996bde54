"""Paired tests against closed forms and independent references, and the corrections by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdbench.report.block import all_matched, factors
from kdbench.report.comparison import (
    comparisons,
    corrected,
    false_discovery,
    holm,
    is_finding,
    paired_test,
    sign_flip_p,
)
from kdbench.report.control import with_controls

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "knowledge", "method"]
NAN = math.nan


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.5, times 4 3 2 1, never falling
    assert holm(np.array([0.02, 0.5, NAN, 0.01, 0.03])) == pytest.approx([0.06, 0.5, NAN, 0.04, 0.06], nan_ok=True)
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).size == 0 and np.isnan(holm(np.array([NAN]))).all()


def test_false_discovery_by_hand() -> None:
    assert false_discovery(np.array([0.01, NAN, 0.04, 0.03])) == pytest.approx([0.03, NAN, 0.04, 0.04], nan_ok=True)
    assert np.isnan(false_discovery(np.array([NAN]))).all()


@pytest.mark.parametrize("pairs", [3, 6, 10])
def test_the_exact_p_of_one_sign_is_two_patterns(pairs: int) -> None:
    differences = np.random.default_rng(0).uniform(0.01, 0.02, pairs)
    assert sign_flip_p(differences) == pytest.approx(2 / 2**pairs)
    assert sign_flip_p(-differences) == pytest.approx(2 / 2**pairs)


def test_the_exact_p_counts_patterns() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.25, -0.05])
    means = [np.mean(differences * signs) for signs in product((1, -1), repeat=5)]
    expected = np.mean(np.abs(means) >= differences.mean() - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_many_pairs_are_sampled_reproducibly() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, 40)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    assert sign_flip_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_a_paired_test_is_scipys() -> None:
    first, second = np.random.default_rng(3).normal(0, 1, (2, 8))
    row = paired_test(first - second)
    reference = stats.ttest_rel(first, second)
    assert row["n"] == 8 and row["difference"] == pytest.approx((first - second).mean())
    assert row["p"] == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert (row["p"] < 0.05) == (row["low"] > 0 or row["high"] < 0)


def test_equal_differences_are_no_certainty() -> None:
    nothing, gain = paired_test(np.zeros(6)), paired_test(np.full(6, 0.02))
    assert nothing["p"] == 1 and nothing["p_permutation"] == 1 and math.isnan(nothing["low"])
    assert gain["p"] == pytest.approx(2 / 2**6) and math.isnan(gain["low"])


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_two_pairs_are_no_test(pairs: int) -> None:
    row = paired_test(np.full(pairs, 0.1))
    assert row["n"] == pairs and math.isnan(row["p"]) and math.isnan(row["p_permutation"])


def score(row: Any) -> float:
    return {"hidden": 0.5, "logits": 0.53, "gram": 0.49}[row["knowledge"]] + {"glue/rte": 0, "glue/sst2": 0.3}[
        row["task"]
    ]


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    runs = with_controls(runs, AXES)
    (found,) = corrected([comparisons(runs, all_matched(runs, factors(runs, AXES), AXES))])
    return found


def test_the_better_level_comes_first(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["gram", "hidden", "logits"]}, score, noise=0.001, control=False)
    table = compared(runs)
    pooled = table[table["task"] == "all tasks"]
    assert list(zip(pooled["first"], pooled["second"], strict=True)) == [
        ("hidden", "gram"), ("logits", "gram"), ("logits", "hidden"),
    ]  # fmt: skip
    assert pooled["difference"].to_numpy() == pytest.approx([0.01, 0.04, 0.03], abs=0.002)
    assert (pooled["first_score"] - pooled["second_score"]).to_numpy() == pytest.approx(pooled["difference"].to_numpy())
    assert (pooled["low"] <= pooled["difference"]).all() and (pooled["difference"] <= pooled["high"]).all()
    assert pooled["teacher"].to_numpy() == pytest.approx(0.9) and pooled["control"].isna().all()
    assert list(pooled["n"]) == [6, 6, 6] and len(table) == 9
    assert pooled["finding"].all() and not table[table["task"] != "all tasks"]["finding"].any()  # 3 pairs a task


def test_what_moves_along_turns_with_the_levels(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["gram", "logits"]}, score, noise=0.001)
    runs["matching"] = runs["knowledge"].map({"gram": "first", "logits": "last"})
    found = with_controls(runs, AXES)
    (row, *_) = comparisons(found, all_matched(found, factors(found, AXES), [*AXES, "matching"])).to_dict("records")
    assert (row["first"], row["first_with"], row["second_with"]) == ("logits", "matching=last", "matching=first")


def test_the_tests_of_a_task_are_one_family_over_the_tables() -> None:
    one = pd.DataFrame({"task": ["all", "rte"], "p": [0.01, 0.04], "p_permutation": [0.01, 0.04]})
    other = pd.DataFrame({"task": ["all", "all"], "p": [0.02, NAN], "p_permutation": [0.2, NAN]})
    first, second, empty = corrected([one, other, one.iloc[:0]])
    assert list(first["p_corrected"]) == pytest.approx([0.02, 0.04])
    assert list(second["p_corrected"]) == pytest.approx([0.02, NAN], nan_ok=True)
    assert list(first["finding"]) == [True, True] and list(second["finding"]) == [False, False]
    assert empty.empty and "finding" in empty


def test_a_finding_needs_both() -> None:
    tests = pd.DataFrame({"p_corrected": [0.05, 0.05, 0.06, NAN], "p_permutation": [0.05, 0.06, 0.05, NAN]})
    assert list(is_finding(tests)) == [True, False, False, False]
