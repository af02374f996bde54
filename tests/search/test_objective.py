"""What is read of a record, in which direction, and within which bounds."""

from __future__ import annotations

import pytest

from kdbench.error import KdbenchError
from kdbench.search.objective import constraints, objectives, refuse_unknown

RECORD = {
    "score": "validation/f1",
    "metrics": {"validation/f1": 0.75, "validation/accuracy": 0.5},
    "student": {
        "parameters": {"total": 100}, "flops": 7, "bytes": 400, "latency_ms": {"batch_1": 2.5, "batch_32": 9.0}
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "direction", "value"),
    [
        ("score", "maximize", 0.75),
        ("validation/accuracy", "maximize", 0.5),
        ("validation/perplexity", "minimize", None),
        ("parameters", "minimize", 100.0),
        ("flops", "minimize", 7.0),
        ("bytes", "minimize", 400.0),
        ("latency", "minimize", 2.5),
        ("latency_32", "minimize", 9.0),
    ],
)
def test_an_objective_has_a_direction_of_its_own(name: str, direction: str, value: float | None) -> None:
    (objective,) = objectives([name], None)
    assert objective.direction == direction
    if value is not None:
        assert objective.value(RECORD) == value
    assert objectives([name], "maximize")[0].direction == "maximize"


def test_one_objective_may_stand_alone() -> None:
    assert objectives("score", None) == objectives(["score"], None)


def test_a_bound_is_violated_by_what_lies_beyond_it() -> None:
    at_most, at_least = constraints({"latency": "<= 5", "score": ">=0.8"})
    assert at_most.violation(RECORD) == -2.5 and at_least.violation(RECORD) == pytest.approx(0.05)
    assert constraints(None) == []


@pytest.mark.parametrize(
    ("names", "direction", "sentence"),
    [
        ([], None, "must name one number or several different ones"),
        (["score", "score"], None, "must name one number or several different ones"),
        (["score", "latency"], ["maximize"], "one direction for each"),
        (["score"], "up", "hydra.sweeper.direction=up is unknown: choose maximize or minimize"),
    ],
)
def test_objectives_that_make_no_search_are_refused(names: list[str], direction: object, sentence: str) -> None:
    with pytest.raises(KdbenchError, match=sentence):
        objectives(names, direction)  # type: ignore[arg-type]


def test_numbers_that_no_run_has_are_refused_with_those_that_it_has() -> None:
    with pytest.raises(KdbenchError, match=r"objectives=validation/f7 is no number .* latency_32, validation/f1$"):
        refuse_unknown(["score", "validation/f7"], ["f1"], "hydra.sweeper.objectives")
    refuse_unknown(["score", "latency", "test/f1", "validation/f1"], ["f1"], "hydra.sweeper.objectives")
    with pytest.raises(KdbenchError, match="is no bound: write it as"):
        constraints({"latency": "five"})
    with pytest.raises(KdbenchError, match=r"latency=<= 1\.2\.3 is no bound: write it as"):
        constraints({"latency": "<= 1.2.3"})
    for node in ("latency <= 5", ["latency <= 5"]):
        with pytest.raises(KdbenchError, match="names no numbers: write a bound for each, as"):
            constraints(node)  # type: ignore[arg-type]
    assert [constraints({"latency": f"<= {each}"})[0].bound for each in ("5", "5.", ".5", "-1.5e3")] == [
        5,
        5,
        0.5,
        -1500,
    ]
    with pytest.raises(KdbenchError, match="no metric of this run"):
        objectives(["test/f1"], None)[0].value(RECORD)
