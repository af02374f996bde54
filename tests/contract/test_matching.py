"""Every matching over every pair of depths: refused in a sentence or pairs that are there; what is made of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kdbench.config import instantiate
from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs
from kdbench.matching.pairing import Pairing
from kdbench.progress import START, Progress

Option = Callable[[str, str], Any]
STUDENT, TEACHER = 4, 8
DEPTHS = range(1, 13)
DEEP_ENOUGH = range(4, 13)
"""Shallower models lack layers that an option's defaults, or the user's own pairs, may name."""


def test_pairs_are_layers_that_both_models_have(matching: str, option: Option) -> None:
    made: Matching = instantiate(option("matching", matching))
    accepted = 0
    for student in DEPTHS:
        for teacher in DEPTHS:
            try:
                pairs = made.pairs(student, teacher)
            except ImpossibleError as error:
                assert re.search(r": \w+", str(error)) and "\n" not in str(error)
                continue
            accepted += 1
            assert pairs and len(set(pairs)) == len(pairs)
            assert all(0 <= ours <= student and 0 <= theirs <= teacher for ours, theirs in pairs)
            assert [ours for ours, _ in pairs] == sorted(ours for ours, _ in pairs)
            assert made.pairs(student, teacher) == pairs, "a pairing is a function of the depths"
    assert accepted


@pytest.mark.parametrize("depth", DEEP_ENOUGH)
def test_models_of_one_depth_can_always_be_matched(matching: str, depth: int, option: Option) -> None:
    assert instantiate(option("matching", matching)).pairs(depth, depth)


class Layers:
    """Two sides of three samples, whose layers show drawn tensors of one shape, compared by their squared errors."""

    def __init__(self, shape: tuple[int, ...] = (6,), teacher_shape: tuple[int, ...] | None = None) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(*sizes: int) -> torch.Tensor:
            return torch.randn(3, *sizes, dtype=torch.float64, generator=generator)

        self.students = {layer: draw(*shape).requires_grad_() for layer in range(STUDENT + 1)}
        self.teachers = {layer: draw(*(teacher_shape or shape)) for layer in range(TEACHER + 1)}

    def student(self, layer: int) -> torch.Tensor:
        return self.students[layer]

    def teacher(self, layer: int) -> torch.Tensor:
        return self.teachers[layer]

    def distance(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (student - teacher).square().flatten(1).mean(dim=1)


class Ones(Layers):
    """All layers are equally far apart."""

    def distance(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(student), dtype=student.dtype)


def paired(option: Option, matching: str, embeddings: bool, reduction: str = "sum") -> tuple[Pairs, Pairing]:
    made: Matching = instantiate(option("matching", matching))
    pairs = made.pairs(STUDENT, TEACHER)
    pairs = [(0, 0), *pairs] if embeddings else pairs
    return pairs, made.pairing(pairs, reduction, seed=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("embeddings", [False, True])
def test_what_is_drawn_is_declared(matching: str, embeddings: bool, option: Option) -> None:
    """Taps are read off the pairs; the embeddings' pair, which the knowledge adds, is drawn at every step."""
    pairs, pairing = paired(option, matching, embeddings)
    counts = set()
    for step in range(0, 40, 3):
        drawn = pairing.drawn(Progress(step, 40, 10))
        counts.add(len(drawn))
        assert set(drawn) <= set(pairs) and ((0, 0) in drawn) == embeddings
    assert len(counts) == 1, "a joint knowledge is as wide as the drawn pairs are many"


@pytest.mark.parametrize("embeddings", [False, True])
def test_a_constant_distance_counts_once_a_student_layer(matching: str, embeddings: bool, option: Option) -> None:
    """So a term's weight means the same with every matching."""
    pairs, pairing = paired(option, matching, embeddings)
    layers = len({ours for ours, _ in pairs})
    torch.testing.assert_close(pairing(Ones(), START), torch.full((3,), float(layers), dtype=torch.float64))
    averaged = paired(option, matching, embeddings, "mean")[1]
    torch.testing.assert_close(averaged(Ones(), START), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("embeddings", [False, True])
def test_every_student_layer_learns_and_no_teacher_layer(matching: str, embeddings: bool, option: Option) -> None:
    pairs, pairing = paired(option, matching, embeddings)
    sides = Layers()
    loss = pairing(sides, START)
    assert loss.shape == (3,) and bool(loss.isfinite().all())
    loss.sum().backward()
    for layer in {ours for ours, _ in pairs}:
        gradient = sides.students[layer].grad
        assert gradient is not None and bool(gradient.any()), layer
    assert all(tensor.grad is None for tensor in sides.teachers.values())
    assert all(parameter.grad is not None for parameter in pairing.parameters())


def test_a_fixed_matching_sums_its_pairs(matching: str, option: Option) -> None:
    """What `fixed` says: a knowledge that is compared at once may take the pairs as they are drawn."""
    made: Matching = instantiate(option("matching", matching))
    _, pairing = paired(option, matching, embeddings=True)
    sides = Layers()
    plain = Pairing(pairing.drawn(START))(sides, START)
    assert torch.allclose(pairing(sides, START), plain) == made.fixed


def test_a_knowledge_of_the_embeddings_alone_leaves_nothing_to_match(matching: str, option: Option) -> None:
    made: Matching = instantiate(option("matching", matching))
    sides = Layers()
    loss = made.pairing([(0, 0)], "sum", seed=5)(sides, START)
    torch.testing.assert_close(loss, sides.distance(sides.student(0), sides.teacher(0)))


def test_a_matching_that_mixes_refuses_what_has_no_vectors(matching: str, option: Option) -> None:
    made: Matching = instantiate(option("matching", matching))
    _, pairing = paired(option, matching, embeddings=False)
    maps = Layers(shape=(2, 3, 3))
    if not made.mixes:
        assert bool(pairing(maps, START).isfinite().all())
        return
    for unmixable in (maps, Layers(shape=(6,), teacher_shape=(7,))):
        with pytest.raises(ImpossibleError, match="choose projection=to_teacher"):
            pairing(unmixable, START)
