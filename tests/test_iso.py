"""Sizes of the same encoder in another shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR
from kdbench.cost import parameters
from kdbench.error import KdbenchError
from kdbench.head import ClassHead
from kdbench.iso import FAMILIES, encoder_parameters, encoder_size, refuse_unequal, relative_difference
from kdbench.student.bert import bert

OF_THE_PAPER = [("l12_h384", "l3_h768"), ("l24_h256", "l6_h512"), ("l12_h256", "l6_h384")]


@pytest.mark.parametrize(("layers", "width", "heads", "intermediate"), [(3, 32, 4, 128), (2, 24, 3, 50), (1, 8, 1, 8)])
def test_the_closed_form_counts_a_built_encoder(layers: int, width: int, heads: int, intermediate: int) -> None:
    with torch.device("meta"):
        built = parameters(bert(layers, width, heads, intermediate, 30, ClassHead(("no", "yes"))))
    assert encoder_parameters(layers, width, intermediate) == built["encoder"]


@pytest.mark.parametrize("family", FAMILIES, ids="=".join)
def test_a_family_is_within_its_tolerance(family: tuple[str, ...]) -> None:
    counts = [encoder_size(size) for size in family]
    assert 0.0 < relative_difference(counts) <= FAMILIES[family]
    refuse_unequal(family, FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES, ids="=".join)
def test_a_family_is_of_different_shapes_and_begins_with_the_deepest(family: tuple[str, ...]) -> None:
    numbers = [OmegaConf.load(CONF_DIR / "student" / "size" / f"{size}.yaml") for size in family]
    layers, widths = [node.layers for node in numbers], [node.width for node in numbers]
    assert layers == sorted(set(layers), reverse=True) and widths == sorted(set(widths))


def test_the_pairs_of_the_study_are_families() -> None:
    assert set(OF_THE_PAPER) <= set(FAMILIES)
    assert [relative_difference(map(encoder_size, pair)) < 0.13 for pair in OF_THE_PAPER] == [True] * 3


def test_a_difference_is_a_share_of_the_smaller() -> None:
    assert relative_difference([100, 125]) == relative_difference([125, 110, 100]) == 0.25
    assert relative_difference([7]) == relative_difference([7, 7]) == 0.0


def test_unequal_encoders_are_refused_by_the_two_that_differ_most() -> None:
    expected = (
        r"student/size=l3_h768 has an encoder of 21,263,616 parameters and student/size=l2_h128 of 396,544, 5262\.2% "
        r"apart where 5\.0% are allowed: choose sizes of one family"
    )
    with pytest.raises(KdbenchError, match=expected):
        refuse_unequal(["l24_h256", "l2_h128", "l3_h768"], tolerance=0.05)


def test_a_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match="student/size=l9_h9 is not there"):
        encoder_size("l9_h9")
    with pytest.raises(KdbenchError, match="student/size=l2_h128 is not there"):
        encoder_size("l2_h128", tmp_path)


@pytest.mark.parametrize("budget", ["smoke", "cpu", "gpu"])
def test_the_sweep_of_width_and_depth_compares_whole_families(budget: str) -> None:
    sweep = OmegaConf.load(Path(__file__).parent.parent / "sweeps" / "unified" / "width_depth.yaml")
    sizes = sweep.budget.sizes[budget].split(",")
    families = list(zip(sizes[::2], sizes[1::2], strict=True))
    for family in families:
        refuse_unequal(family, FAMILIES[family])
