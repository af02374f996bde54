"""From a command line to distributions, and from a trial back to a command line."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from kdbench.error import KdbenchError
from kdbench.search.space import Space, refuse_unknown_keys, space_of

LOADER: Any = SimpleNamespace(get_group_options=lambda name: ["label", "kd"] if name in ("method", "knowledge") else [])


def always(overrides: Sequence[str], key: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("a.b=interval(0,1.5)", FloatDistribution(0.0, 1.5)),
        ("a.b=interval(1,8)", FloatDistribution(1.0, 8.0)),
        ("a.b=int(interval(1,8))", IntDistribution(1, 8)),
        ("a.b=tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("a.b=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("a.b=range(0,5)", IntDistribution(0, 4)),
        ("a.b=range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("a.b=range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a.b=choice(1,x,true)", CategoricalDistribution(["1", "x", "true"])),
        ("a.b=1,2", CategoricalDistribution(["1", "2"])),
    ],
)
def test_hydras_grammar(override: str, distribution: Any) -> None:
    """What users of hydra-optuna-sweeper write; a range ends before its end."""
    assert space_of([override, "seed=3"], LOADER).searched == {"a.b": distribution}
    assert space_of([override, "seed=3"], LOADER).fixed == ("seed=3",)


def test_the_command_line_wins_over_the_file() -> None:
    space = space_of(["a=1,2", "b=3", "c=interval(0,1)", "a=5", "b=6,7"], LOADER)
    assert space.fixed == ("a=5",) and set(space.searched) == {"b", "c"}


def test_groups_come_first_and_a_key_that_their_choice_lacks_is_not_asked_for() -> None:
    space = space_of(["soft.temperature=interval(1,8)", "method=label,kd", "lr=interval(0.0,1.0)"], LOADER)
    assert next(iter(space.searched)) == "method"

    def exists(overrides: Sequence[str], key: str) -> bool:
        return key != "soft.temperature" or "method=kd" in overrides

    seen = set()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        overrides = space.suggest(trial, exists)
        assert ("soft.temperature" in trial.params) == ("method=kd" in overrides)
        assert [each.partition("=")[0] for each in overrides] == list(trial.params)
        seen.add(overrides[0])
        study.tell(trial, 0.0)
    assert seen == {"method=label", "method=kd"}


def test_a_grid_has_every_combination_once_of_the_keys_that_it_is_asked_for() -> None:
    space = space_of(["t=range(1,4)", "method=label,kd", "s=range(0.0,1.0,0.5)"], LOADER)
    found = space.combinations(lambda overrides, key: key != "t" or "method=kd" in overrides)
    assert len(found) == 2 + 3 * 2 and len({tuple(each.items()) for each in found}) == 8
    assert all(("t" in each) == (each["method"] == "kd") for each in found)
    assert {each["s"] for each in found} == {0.0, 0.5}
    with pytest.raises(KdbenchError, match="a list of values of t"):
        space_of(["t=interval(1,4)"], LOADER).combinations(always)


def test_a_value_is_written_as_hydra_reads_it() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    space = space_of(["a='x y','z,w'", "b=tag(log,interval(1e-12,1e-3))", "c=[1,2],[3]"], LOADER)
    written = [space.override("a", "z,w"), space.override("b", 1.5e-11), space.override("c", "[1,2]")]
    values = [each.value() for each in OverridesParser.create().parse_overrides(written)]
    assert [str(getattr(values[0], "text", values[0])), values[1], values[2]] == ["z,w", 1.5e-11, [1, 2]]


def test_a_signature_changes_with_the_space() -> None:
    base = space_of(["a=interval(0,1.0)", "b=1"], LOADER).signature
    assert base == space_of(["b=1", "a=interval(0,1.0)"], LOADER).signature
    others = (["a=interval(0,2.0)", "b=1"], ["a=interval(0,1.0)", "c=1,2"])
    assert len({base, *(space_of(each, LOADER).signature for each in others)}) == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["a=1"], "this search varies nothing"),
        (["a=interval(2,1)"], "a=interval(2,1) is an empty interval"),
        (["a=range(3,3)"], "a=range(3,3) is an empty range"),
        (["a=tag(log,interval(0,1))"], "cannot be on a logarithmic scale"),
        (["a=1", "b="], "this search varies nothing"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(KdbenchError) as caught:
        space_of(overrides, LOADER)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_that_no_choice_has_is_refused() -> None:
    space: Space = space_of(["method=label,kd", "temperature=interval(1,8)"], LOADER)
    refuse_unknown_keys(space, lambda overrides, key: "method=kd" in overrides)
    refuse_unknown_keys(space, always)
    with pytest.raises(KdbenchError, match="temperature is searched, but no configuration of this search has"):
        refuse_unknown_keys(space, lambda overrides, key: False)


def test_a_key_may_need_two_options_at_once() -> None:
    space: Space = space_of(["method=label,kd", "knowledge=label,kd", "temperature=interval(1,8)"], LOADER)
    asked = []

    def exists(overrides: Sequence[str], key: str) -> bool:
        asked.append(tuple(overrides))
        return list(overrides) == ["method=kd", "knowledge=kd"]

    refuse_unknown_keys(space, exists)
    assert asked[0] == ("method=label", "knowledge=label") and len(asked) <= 7
