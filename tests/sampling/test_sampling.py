"""Distributions over a team: closed forms, invariance, draws by counters, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import chisquare

from kdbench.error import KdbenchError
from kdbench.progress import START, Progress
from kdbench.sampling.base import Draws, Moment, Sampling
from kdbench.sampling.best import Best
from kdbench.sampling.explicit import Explicit
from kdbench.sampling.rank import SCHEMES, StudentRank, TeacherRank
from kdbench.sampling.single import Single
from kdbench.sampling.uniform import Uniform

NAMES = ("a", "b", "c", "d", "e")
SCORES = (0.5, 0.9, 0.6, 0.8, 0.7)


def moment(step: int, rows: np.ndarray | None = None, micro: int = 0, steps: int = 100, epoch: int = 10) -> Moment:
    return Moment(Progress(step, steps, epoch), micro, np.arange(4) if rows is None else rows)


def test_linear_ranks_are_the_fifteenths_of_five_teachers() -> None:
    found = TeacherRank().distribution(NAMES, SCORES)
    np.testing.assert_allclose(found, np.array([1, 5, 2, 4, 3]) / 15, atol=1e-15)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_every_scheme_gives_a_distribution_that_grows_with_the_score(scheme: str, count: int) -> None:
    scores = np.random.default_rng(count).permutation(np.linspace(0.3, 0.9, count))
    names = [str(place) for place in range(count)]
    found = TeacherRank(scheme).distribution(names, scores)  # type: ignore[arg-type]
    assert (found >= 0.0).all() and abs(found.sum() - 1.0) < 1e-12
    assert (np.diff(found[scores.argsort()]) > 0.0).all()
    order = np.random.default_rng(0).permutation(count)
    again = TeacherRank(scheme).distribution(names, scores[order])  # type: ignore[arg-type]
    np.testing.assert_allclose(again, found[order], atol=1e-15)


def test_the_schemes_are_their_formulas() -> None:
    scores, ranks = np.array(SCORES), np.array([1, 5, 2, 4, 3])
    expected = {
        "score": scores,
        "softmax": np.exp(scores / 0.1),
        "softmax_rank": np.exp(ranks / 0.1),
        "geometric": 0.25 ** (5 - ranks),
    }
    for scheme, weights in expected.items():
        found = TeacherRank(scheme, theta=0.1, q=0.25).distribution(NAMES, SCORES)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, weights / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equal_scores_are_equally_likely(scheme: str) -> None:
    found = StudentRank(scheme=scheme).distribution(NAMES, [0.7] * 5)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, 0.2, atol=1e-15)
    ordered = StudentRank(scheme="linear", ties="order").distribution(NAMES, [0.7] * 5)
    np.testing.assert_allclose(ordered, np.arange(1, 6) / 15)


def test_the_best_one_teaches_alone() -> None:
    assert Best().scores == "student" and Best("teacher").scores == "teacher"
    assert Best().distribution(NAMES, SCORES).tolist() == [0, 1, 0, 0, 0]
    assert Best().distribution(("a", "b"), (0.7, 0.7)).tolist() == [1, 0]


def test_ties_share_the_mean_of_their_ranks() -> None:
    found = TeacherRank().distribution(("a", "b", "c"), (0.5, 0.8, 0.8))
    np.testing.assert_allclose(found, np.array([1, 2.5, 2.5]) / 6)


def test_whose_scores_are_asked_for() -> None:
    assert (Uniform().scores, TeacherRank().scores, StudentRank().scores) == ("none", "teacher", "student")


def test_the_drawn_share_follows_the_distribution() -> None:
    given = Explicit({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4})
    draws = Draws(given, given.distribution(("a", "b", "c", "d"), None), seed=7)
    # 100,000 steps, drawn as examples of one epoch, which are as many counters.
    every = Draws(Explicit(given.given, granularity="example"), draws.distribution, seed=7)
    counts = np.bincount(every.at(moment(0, np.arange(100_000))), minlength=4)
    assert chisquare(counts, 100_000 * draws.distribution).pvalue > 0.001
    stepwise = np.bincount([draws.at(moment(step))[0] for step in range(4000)], minlength=4)
    assert chisquare(stepwise, 4000 * draws.distribution).pvalue > 0.001


def test_a_draw_is_a_function_of_its_number() -> None:
    draws = Draws(Uniform(), np.full(5, 0.2), seed=3)
    sequence = [int(draws.at(moment(step))[0]) for step in range(200)]
    assert [int(draws.at(moment(step))[0]) for step in reversed(range(200))] == sequence[::-1]
    assert [int(Draws(Uniform(), np.full(5, 0.2), seed=4).at(moment(step))[0]) for step in range(200)] != sequence
    assert all((draws.at(moment(step, np.arange(8))) == sequence[step]).all() for step in range(50))


@pytest.mark.parametrize(
    ("granularity", "same", "other"),
    [
        ("step", (moment(5), moment(5, micro=3)), moment(6)),
        ("micro_batch", (moment(5, micro=1), moment(5, np.arange(9, 13), micro=1)), moment(5, micro=2)),
        ("epoch", (moment(11), moment(19)), moment(21)),
        ("example", (moment(11), moment(15)), moment(11, np.arange(4, 8))),
    ],
)
def test_what_one_draw_serves(granularity: str, same: tuple[Moment, Moment], other: Moment) -> None:
    differ = 0
    for seed in range(40):
        draws = Draws(Uniform(granularity), np.full(5, 0.2), seed)  # type: ignore[arg-type]
        first, second = (draws.at(each) for each in same)
        assert np.array_equal(first, second)
        differ += not np.array_equal(first, draws.at(other))
    assert differ > 20


def test_rows_draw_for_themselves_wherever_they_stand() -> None:
    draws = Draws(Uniform("example"), np.full(5, 0.2), 1)
    rows = np.random.default_rng(0).permutation(1000)
    np.testing.assert_array_equal(draws.at(moment(3, rows)), draws.at(moment(7, np.arange(1000)))[rows])


def test_a_share_is_dealt_out_evenly_and_may_change() -> None:
    sampling = Explicit({"a": 0.8, "b": 0.2}, schedule={"uniform_share": lambda progress: 1.0 - progress})
    for step, expected in ((0, [0.5, 0.5]), (50, [0.65, 0.35]), (100, [0.8, 0.2])):
        np.testing.assert_allclose(sampling.probabilities(np.array([0.8, 0.2]), Progress(step, 101, 10)), expected)
    fixed = Explicit({"a": 0.8, "b": 0.2}, uniform_share=0.5)
    np.testing.assert_allclose(fixed.probabilities(np.array([0.8, 0.2]), START), [0.65, 0.35])


def test_members_that_cannot_be_drawn_are_left_out() -> None:
    assert Single("b").members(NAMES) == ("b",)
    assert Explicit({"e": 0.5, "a": 0.5, "c": 0.0}).members(NAMES) == ("a", "e")
    assert Explicit({"e": 0.25, "a": 0.75}).distribution(("a", "e"), None).tolist() == [0.75, 0.25]
    assert Uniform().members(NAMES) == NAMES


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Explicit({"a": 0.5, "b": 0.4}), "sum to 0.9, not to 1: correct one"),
        (lambda: Explicit({"a": 1.5, "b": -0.5}), r"probabilities\.a=1\.5 must be a number from 0 to 1"),
        (lambda: Explicit({"x": 1.0}).members(NAMES), "names x, which is not in the team: its members are a, b"),
        (lambda: Single("x").members(NAMES), "sampling.member=x is not in the team: choose one of a, b"),
        (lambda: TeacherRank("best"), "sampling.scheme=best is unknown: choose linear"),  # type: ignore[arg-type]
        (lambda: TeacherRank(theta=0), "sampling.theta=0 must be a number greater than 0"),
        (lambda: TeacherRank(q=1.0), "sampling.q=1.0 must be below 1"),
        (lambda: Uniform("day"), "sampling.granularity=day is unknown"),  # type: ignore[arg-type]
        (lambda: Uniform(uniform_share=2.0), "uniform_share=2.0 must be a number from 0 to 1"),
        (lambda: Uniform(schedule={"uniform_share": lambda at: 2 * at}), "at progress 0.55=1.1 must be"),
        (lambda: Uniform(schedule={"p": lambda at: at}), "sampling.schedule.p is unknown"),
        (lambda: TeacherRank("score").distribution(("a", "b"), (-0.1, 0.3)), "member a has -0.1: choose .*linear"),
        (lambda: StudentRank().distribution(("a", "b"), (0.1, float("nan"))), "member b has no score"),
        (lambda: StudentRank(pilot_seed=-1), "sampling.pilot_seed=-1 must be a whole number of at least 0"),
    ],
)
def test_what_makes_no_distribution_is_refused(make: Callable[[], Sampling], complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        make()
