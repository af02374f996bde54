from __future__ import annotations

import itertools
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from kdbench.error import KdbenchError
from kdbench.grid import as_text, grid, merge, parse, quoted


def overrides(lines: list[str], zipped: Any = (), exclude: Any = ()) -> list[tuple[str, ...]]:
    return [cell.overrides for cell in grid(parse(lines), zipped, exclude).cells]


def test_cells_are_the_product_with_the_last_axis_fastest() -> None:
    assert overrides(["knowledge=hidden,attention", "paths.store=s", "seed=range(1,3)"]) == [
        ("knowledge=hidden", "paths.store=s", "seed=1"),
        ("knowledge=hidden", "paths.store=s", "seed=2"),
        ("knowledge=attention", "paths.store=s", "seed=1"),
        ("knowledge=attention", "paths.store=s", "seed=2"),
    ]


def test_no_axis_is_one_cell() -> None:
    assert overrides([]) == [()]


def test_a_label_names_what_varies_or_everything_where_nothing_does() -> None:
    cells = grid(parse(["seed=1,2", "training=short"]), (), ()).cells
    assert [cell.label for cell in cells] == ["seed=1", "seed=2"]
    assert grid(parse(["seed=1", "training=short"]), (), ()).cells[0].label == "seed=1 training=short"


def test_zipped_axes_move_together_and_overrides_keep_their_order() -> None:
    lines = ["size=small,large", "seed=1,2", "start=random,teacher"]
    assert overrides(lines, zipped=[["start", "size"]]) == [
        ("size=small", "seed=1", "start=random"),
        ("size=small", "seed=2", "start=random"),
        ("size=large", "seed=1", "start=teacher"),
        ("size=large", "seed=2", "start=teacher"),
    ]


@pytest.mark.parametrize("lengths", [lengths for lengths in itertools.product((1, 2, 3), repeat=3) if max(lengths) > 1])
def test_the_number_of_cells_is_the_product_of_the_lengths_less_the_excluded(lengths: tuple[int, int, int]) -> None:
    a, b, c = lengths
    lines = [
        f"{name}=choice({','.join(str(n) for n in range(length))})" for name, length in zip("abc", lengths, strict=True)
    ]
    lines.append(f"zipped_with_a=choice({','.join(str(10 * n) for n in range(a))})")
    everything = grid(parse(lines), [["a", "zipped_with_a"]], [])
    assert len(set(everything.cells)) == len(everything.cells) == a * b * c
    last = {"a": a - 1, "b": b - 1, "c": c - 1}
    less = grid(parse(lines), [["a", "zipped_with_a"]], [last])
    assert (len(less.cells), len(less.excluded)) == (a * b * c - 1, 1)
    assert {*less.cells, *less.excluded} == {*everything.cells}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"k": "hidden"}], 4),
        ([{"k": "hidden", "lr": 0.001}], 6),
        ([{"k": ["hidden", "attention"], "lr": 1e-3}], 4),
        ([{"k": "hidden"}, {"lr": 0.01}], 2),
        ([{"shared": True}], 4),
        ([{"shared": "true"}], 4),
        (OmegaConf.create([{"k": ["hidden"], "shared": False}]), 6),
    ],
)
def test_an_exclusion_leaves_out_the_cells_that_equal_all_its_entries(exclude: Any, left: int) -> None:
    found = grid(parse(["k=hidden,attention", "lr=1e-3,0.01", "shared=true,false"]), (), exclude)
    assert (len(found.cells), len(found.excluded), found.idle) == (left, 8 - left, ())


def test_an_exclusion_that_matches_nothing_is_told() -> None:
    found = grid(parse(["k=hidden,attention", "seed=1,2"]), (), [{"k": "hiden"}, {"seed": 1}])
    assert found.idle == ("{'k': 'hiden'}",)


@pytest.mark.parametrize(
    ("params", "arguments", "cells"),
    [
        (["k=a,b", "seed=1,2"], ["seed=7"], [("k=a", "seed=7"), ("k=b", "seed=7")]),
        (["k=a,b", "seed=1"], ["k=c", "lr=0.1"], [("k=c", "seed=1", "lr=0.1")]),
        (["terms.x.weight=1,2"], ["++terms.x.weight=3"], [("++terms.x.weight=3",)]),
        (["k=a"], [], [("k=a",)]),
        ([], ["~logger", "+logger=csv"], [("~logger", "+logger=csv")]),
        (["logger=wandb"], ["~logger", "+logger=csv"], [("~logger", "+logger=csv")]),
        ([], ["seed=1", "seed=2"], [("seed=2",)]),
    ],
)
def test_the_command_line_wins_and_keeps_the_place(
    params: list[str], arguments: list[str], cells: list[tuple[str, ...]]
) -> None:
    assert [cell.overrides for cell in grid(merge(parse(params), parse(arguments)), (), ()).cells] == cells


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a='b,c','d e'", ["b,c", "d e"]),
        ("a=x y,z", ["x y", "z"]),
        ("a=[1,2],[3]", [[1, 2], [3]]),
        ("a={x:1,y:[b]},{x:2}", [{"x": 1, "y": ["b"]}, {"x": 2}]),
        ("a=true,null,1e-3,''", [True, None, 0.001, ""]),
        ("a=${b},x", ["${b}", "x"]),
        ('a="it\'s",x:y', ["it's", "x:y"]),
        ("a=choice('p=q',r\\,s)", ["p=q", "r,s"]),
        ("+knowledge@stages.task.terms.x.knowledge=hidden,label", ["hidden", "label"]),
    ],
)
def test_an_override_means_the_same_after_the_way_through_the_grid(line: str, values: list[Any]) -> None:
    parser = OverridesParser.create()
    cells = overrides([line, "other=[p,q]"])
    assert [parser.parse_overrides([cell[0]])[0].value() for cell in cells] == values
    assert {cell[1] for cell in cells} == {"other=[p,q]"}
    assert {cell[0].partition("=")[0] for cell in cells} == {line.partition("=")[0]}


@pytest.mark.parametrize("text", ["plain", "it's", "back\\slash", "\\'", "/a b/c=d,e", ""])
def test_a_quoted_text_is_read_back(text: str) -> None:
    assert OverridesParser.create().parse_overrides([f"a={quoted(text)}"])[0].value() == text


def test_values_are_compared_as_people_write_them() -> None:
    assert [as_text(value) for value in (True, None, 0.1, 3, "x", [1, "a"], {"k": False})] == [
        "true", "null", "0.1", "3", "x", "[1,a]", "{k:false}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "zipped", "exclude", "words"),
    [
        (["seed=interval(0,1)"], [], [], "seed=interval(0,1) has no list of values"),
        (["seed=range(3,3)"], [], [], "seed=range(3,3) is an empty list"),
        (["a=1,2", "b=1"], [["a", "b"]], [], "a has 2, b has 1"),
        (["a=1,2"], [["a", "c"]], [], "zip names c"),
        (["a=1,2", "b=1,2", "c=1,2"], [["a", "b"], ["b", "c"]], [], "zip names b twice"),
        (["a=1,2"], [], [{"c": 1}], "exclude names c"),
        (["a=1,2"], [], [{}], "empty entry"),
        (["a=1,2"], [], [{"a": [1, 2]}], "leaves none of the 2 cells"),
    ],
)
def test_a_mistake_is_one_sentence(lines: list[str], zipped: Any, exclude: Any, words: str) -> None:
    with pytest.raises(KdbenchError) as caught:
        grid(parse(lines), zipped, exclude)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
