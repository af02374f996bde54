"""The guideline says what the numbers support, says of the rest that it is not shown, and rarely claims from noise."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdbench.report.answer import Answers, answers
from kdbench.report.block import all_matched, factors
from kdbench.report.comparison import comparisons, corrected
from kdbench.report.control import with_controls
from kdbench.report.gain import gains
from kdbench.report.guideline import Guideline, guideline

MakeRuns = Callable[..., pd.DataFrame]
AXES = ["data", "method", "knowledge", "matching", "initialization", "projection"]


def answered(runs: pd.DataFrame) -> Answers:
    return answers(runs, [name for name in AXES if name in runs])


def says(runs: pd.DataFrame) -> Guideline:
    return guideline(answered(runs))


def one_true_one_null(row: Any) -> float:
    return 0.6 + 0.012 * (row.get("matching") == "last") + 0.1 * (row["task"] == "glue/sst2") + 0.01 * row["seed"]


@pytest.fixture
def runs(make_runs: MakeRuns) -> pd.DataFrame:
    axes = {"matching": ["first", "last"], "initialization": ["random", "teacher_first"]}
    return make_runs(axes, one_true_one_null, noise=0.003, generator=1)


def test_one_true_effect_and_one_null_give_the_right_sentences(runs: pd.DataFrame) -> None:
    said = says(runs)
    (claim,) = said.supported
    pattern = (
        r"matching=last beats matching=first by 1\.\d points \(95 % interval (\S+) to (\S+), 12 matched pairs, "
        r"p (= 0\.0\d\d|< 0\.001) after correction; so on each of the 2 tasks\)\."
    )
    found = re.fullmatch(pattern, claim)
    assert found is not None and 0 < float(found[1]) < 1.2 < float(found[2])
    (left,) = said.undecided
    assert re.fullmatch(
        r"No difference between initialization=\w+ and initialization=\w+ could be shown: "
        r"0\.\d+ points \(-\d\.\d+ to \d\.\d+, 12 matched pairs, p = \d\.\d{3} after correction\)\.",
        left,
    )
    assert "no effect" not in " ".join([*said.supported, *said.undecided, *said.remarks])


def test_the_figures_of_a_sentence_are_those_of_the_table(runs: pd.DataFrame) -> None:
    made = answered(runs)
    row = made.comparisons.query("task == 'all tasks' and axis == 'matching'").iloc[0]
    claim = guideline(made).supported[0]
    assert f"by {100 * row['difference']:.1f} points" in claim
    assert f"interval {100 * row['low']:.1f} to {100 * row['high']:.1f}, {row['n']} matched" in claim


def claims_from_noise(make_runs: MakeRuns, tables: int, effect: float) -> tuple[int, int]:
    """Tables with a claim about an axis without effect, and those where a test without correction makes one."""
    draws = np.random.default_rng(11)
    axes = {"knowledge": list("abcdef")} | ({"matching": ["first", "last"]} if effect else {})

    def score(row: Any) -> float:
        return 0.6 + effect * (row.get("matching") == "last") + 0.01 * draws.normal()

    false, careless = 0, 0
    for _ in range(tables):
        runs = with_controls(
            make_runs(axes, score, tasks=["rte"], seeds=range(6), control=not effect), ["method", *axes]
        )
        met = all_matched(runs, factors(runs, list(axes)), list(axes))
        both = pd.concat(corrected([comparisons(runs, met), gains(runs, list(axes))]))
        null = both[both["axis"] != "matching"]
        false += bool(null["finding"].any())
        careless += bool((null["p"] <= 0.05).any())
    return false, careless


@pytest.mark.parametrize("effect", [0.0, 0.1])
def test_false_claims_are_rare(make_runs: MakeRuns, effect: float) -> None:
    """A true effect of one axis earns the others no claims either."""
    false, careless = claims_from_noise(make_runs, 20, effect)
    assert false <= 4  # at most 1 expected, standard deviation 1
    assert careless > 4  # the same tests without correction: the bound above is one that could fail


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.1])
def test_false_claims_are_rare_in_the_long_run(make_runs: MakeRuns, effect: float) -> None:
    false, careless = claims_from_noise(make_runs, 400, effect)
    assert false <= 33  # at most 20 expected, standard deviation 4.4
    assert careless >= 70


def gaining(row: Any) -> float:
    gain = {"": 0.0, "hidden": 0.03, "gram": -0.02, "logits": 0.0}[row["knowledge"]]
    return 0.6 + gain + 0.01 * row["seed"]


def test_gains_and_losses_against_the_control(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden", "gram", "logits"]}, gaining, noise=0.002, control=True)
    said = says(runs)
    assert any(re.match(r"knowledge=hidden gains [23]\.\d points over its control \(95", one) for one in said.supported)
    (lost,) = [one for one in said.supported if "loses" in one]
    found = re.match(r"knowledge=gram loses (\S+) points against its control \(95 % interval (\S+) to (\S+),", lost)
    assert found is not None and 0 < float(found[2]) < float(found[1]) < float(found[3])
    assert any(one.startswith("No gain or loss of knowledge=logits against its control") for one in said.undecided)


def test_many_cells_are_summed_up(make_runs: MakeRuns) -> None:
    levels = [f"k{place:02}" for place in range(12)]

    def score(row: Any) -> float:
        return 0.6 + (0.01 + 0.004 * levels.index(row["knowledge"]) if row["knowledge"] else 0.0)

    said = says(make_runs({"knowledge": levels}, score, noise=0.0005, control=True, seeds=range(5)))
    gained = [one for one in said.supported if "control" in one]
    assert gained[0] == "Of 12 distilled cells, 12 gain over their control and 0 lose."
    assert [one.split(" gains")[0] for one in gained[1:]] == [
        "Distillation, over all cells together,",
        "knowledge=k11",
        "knowledge=k00",
    ]
    assert sum("beats" in one for one in said.supported) == 6
    assert any("of the 66 comparisons of knowledge are findings" in one for one in said.supported)


def test_many_undecided_comparisons_are_one_sentence(make_runs: MakeRuns) -> None:
    said = says(make_runs({"knowledge": ["a", "b", "c", "d"]}, lambda row: 0.6, noise=0.02, control=True))
    assert not said.supported and len(said.undecided) == 2
    assert said.undecided[0].startswith("No gain or loss against the control could be shown in 5 of 5 cases.")
    assert said.undecided[1].startswith("No difference could be shown in 6 of the 6 comparisons of knowledge;")


def test_few_pairs_decide_nothing_however_large_the_difference(make_runs: MakeRuns) -> None:
    runs = make_runs({"matching": ["first", "last"]}, one_true_one_null, tasks=["glue/rte"], noise=1e-5)
    said = says(runs)
    assert not said.supported and "3 matched pairs" in said.undecided[0]
    assert "fewer than 6 pairs decide nothing" in said.undecided[0]
    two = says(runs[runs["seed"] < 3])
    assert "no interval, 2 matched pairs; fewer" in two.undecided[0]


def test_the_same_difference_in_every_pair_has_no_interval(make_runs: MakeRuns) -> None:
    said = says(make_runs({"matching": ["first", "last"]}, lambda row: 0.6))
    assert "0.0 points (no interval, 6 matched pairs, the same in every pair, p = 1.000" in said.undecided[0]


def test_an_effect_of_opposite_signs_is_told(make_runs: MakeRuns) -> None:
    def turned(row: Any) -> float:
        size = {"a": 0.06, "b": 0.05, "c": -0.004}[row["task"]]
        return 0.6 + size * (row["matching"] == "last")

    runs = make_runs({"matching": ["first", "last"]}, turned, tasks=["a", "b", "c"], seeds=range(6), noise=0.001)
    assert "so on 2 of 3 tasks" in says(runs).supported[0]


def test_remarks_say_what_was_not_compared(make_runs: MakeRuns) -> None:
    runs = make_runs({"matching": ["first", "last"], "initialization": ["x", "y"]}, one_true_one_null, noise=0.01)
    runs["projection"] = runs["initialization"].map({"x": "identity", "y": "linear"})
    apart = runs[(runs["matching"] == "first") == (runs["seed"] == 1)]
    said = " ".join(says(apart).remarks)
    assert "No run has a matched control" in said
    assert "initialization and projection always change together" in said
    assert "Of matching, first and last never meet with all else equal" in said


def test_remarks_count_missing_controls_and_name_the_test(make_runs: MakeRuns) -> None:
    runs = make_runs({"knowledge": ["hidden", "gram"]}, gaining, noise=0.01, control=True)
    said = says(runs[~((runs["method"] == "label") & (runs["seed"] == 1))]).remarks
    assert "4 of 12 distilled runs have no matched control." in said
    assert "Holm's correction for the 4 tests over all tasks" in said[-1]
    assert any(one.startswith("Of the variance of the score within tasks, single axes explain: know") for one in said)


def test_a_lone_run_has_nothing_to_say(make_runs: MakeRuns) -> None:
    said = says(make_runs({"knowledge": ["hidden"]}, lambda row: 0.6, tasks=["rte"], seeds=[1]))
    assert said.supported == said.undecided == ()
    assert said.remarks[-1].startswith("Nothing could be paired")
