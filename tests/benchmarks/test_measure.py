"""Turns, ratios and spreads of the benchmarks."""

from __future__ import annotations

import pytest
import torch

from benchmarks.measure import difference, gain, gains, in_turns, per_step, same, spread, step_ends


def test_ways_alternate_and_warming_up_is_not_counted() -> None:
    order: list[str] = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = in_turns({"a": lambda: way("a"), "b": lambda: way("b")}, rounds=2)
    assert "".join(order) == "abbaab"
    assert found == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_a_gain_compares_the_sides_of_each_round() -> None:
    # The second round ran on a machine half as fast: the ratio does not see it.
    assert gain([8.0, 16.0, 8.0], [2.0, 4.0, 4.0]) == (4.0, 2.0, 4.0)
    assert gains({"theirs": [6.0], "ours": [2.0], "mine": [3.0]}, "theirs") == {
        "ours": (3.0, 3.0, 3.0),
        "mine": (2.0, 2.0, 2.0),
    }
    with pytest.raises(ValueError):
        gain([1.0, 2.0], [1.0])


def test_a_spread_is_median_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.0, 10.0]) == (2.5, 1.0, 10.0)


def test_the_first_step_of_a_training_is_not_counted() -> None:
    assert per_step([5.0, 7.0, 8.0, 11.0]) == 2.0


def test_every_optimizer_step_is_seen_while_the_clock_runs() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    ticks = iter([1.0, 2.0, 4.0])
    with step_ends(lambda: next(ticks)) as ends:
        for _ in range(3):
            weight.sum().backward()
            optimizer.step()
    optimizer.step()
    assert ends == [1.0, 2.0, 4.0]


def test_sides_that_differ_are_refused() -> None:
    theirs = torch.tensor([3.0, 4.0])
    assert difference(theirs + torch.tensor([0.0, 0.5]), theirs) == pytest.approx(0.1)
    assert same(1e-6, 1e-5, "losses") == 1e-6
    with pytest.raises(AssertionError, match="losses: the two sides differ"):
        same(1e-4, 1e-5, "losses")
