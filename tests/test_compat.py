"""`compat=ofa_compress` makes each term compute what the release computes, and refuses what the release cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from kdbench.check import check
from kdbench.config import compose
from kdbench.error import ImpossibleError
from kdbench.outputs import ModelOutputs
from kdbench.shape import Shape
from kdbench.term import Term
from kdbench.terms import build_terms

STUDENT, TEACHER = Shape(2, 8, 2, 3), Shape(4, 8, 2, 3)
RELATION_SHAPES = Shape(2, 8, 2, 3), Shape(4, 16, 4, 3)
LENGTHS = (5, 3)


def side(shape: Shape, seed: int) -> ModelOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    layers = range(1, shape.layers + 1)
    heads = (len(LENGTHS), shape.heads, max(LENGTHS), shape.width // shape.heads)
    query, key = ({layer: draw(*heads) for layer in layers} for _ in range(2))
    return ModelOutputs(
        mask=torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None],
        logits=draw(len(LENGTHS), shape.classes),
        labels=torch.tensor([0, 2]),
        hidden={layer: draw(len(LENGTHS), max(LENGTHS), shape.width) for layer in range(shape.layers + 1)},
        query=query,
        key=key,
        value={layer: draw(*heads) for layer in layers},
        scores={layer: query[layer] @ key[layer].mT * heads[-1] ** -0.5 for layer in layers},
    )


def loss(shapes: tuple[Shape, Shape], *overrides: str) -> torch.Tensor:
    cfg = compose(["data=generated", "data.labels=[a,b,c]", "method=unified", "compat=ofa_compress", *overrides])
    terms = build_terms("task", {"transfer": cfg.stages.task.terms.transfer}, shapes[0], shapes[1:], seed=1)
    found: torch.Tensor = terms[0](side(shapes[0], 1), side(shapes[1], 2))
    return found


def test_soft_labels_lack_the_square_of_the_temperature() -> None:
    found = loss((STUDENT, TEACHER), "knowledge=logits", "objective=soft_cross_entropy", "objective.temperature=2.0")
    student, teacher = side(STUDENT, 1).logits, side(TEACHER, 2).logits
    assert student is not None and teacher is not None
    expected = -((teacher / 2).softmax(-1) * (student / 2).log_softmax(-1)).sum(-1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_relations_of_flattened_heads_are_too_sharp_and_divided_by_the_length() -> None:
    found = loss(RELATION_SHAPES, "knowledge=value_relation", "knowledge.heads=flatten", "matching=last")
    student, teacher = (side(shape, seed) for shape, seed in zip(RELATION_SHAPES, (1, 2), strict=True))
    expected = []
    for row, length in enumerate(LENGTHS):
        total = torch.zeros((), dtype=torch.float64)
        for ours, theirs in ((1, 3), (2, 4)):
            maps = []
            for outputs, layer in ((student, ours), (teacher, theirs)):
                value = outputs.value[layer][row, :, :length]  # (H, length, d)
                flat = value.transpose(0, 1).reshape(length, -1)
                maps.append((flat @ flat.T / value.shape[-1] ** 0.5).log_softmax(-1))
            divergence = maps[1].exp() * (maps[1] - maps[0])
            total = total + divergence.mean()  # over all elements: a row's sum over `length`, and over its rows
        expected.append(total)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)


def test_negative_attention_scores_are_erased() -> None:
    found = loss((STUDENT, TEACHER), "knowledge=attention", "matching=last", "matching.count=1", "objective=mse")
    student, teacher = side(STUDENT, 1), side(TEACHER, 2)
    expected = []
    for row, length in enumerate(LENGTHS):
        maps = []
        for outputs, layer in ((student, 2), (teacher, 4)):
            query, key = outputs.query[layer][row, :, :length], outputs.key[layer][row, :, :length]
            scores = query @ key.transpose(-1, -2) / 2.0
            maps.append(torch.where(scores <= -1e-3, 0.0, scores))
        expected.append((maps[0] - maps[1]).square().mean())
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)


def test_the_last_k_layers_meet_in_reversed_order() -> None:
    overrides = ("knowledge=hidden", "knowledge.embeddings=false", "matching=last", "matching.count=2")
    found = loss((STUDENT, TEACHER), *overrides)
    student, teacher = side(STUDENT, 1), side(TEACHER, 2)
    expected = []
    for row, length in enumerate(LENGTHS):
        differences = [
            (student.hidden[ours][row, :length] - teacher.hidden[theirs][row, :length]).square().mean()
            for ours, theirs in ((2, 3), (1, 4))
        ]
        expected.append(torch.stack(differences).sum())
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)


def test_query_relations_are_refused_instead_of_giving_nan(tiny: Callable[..., list[str]]) -> None:
    with pytest.raises(ImpossibleError, match=r"of=query cannot run .* logarithm of logarithms .*: choose compat=none"):
        check(compose(tiny("method=unified", "knowledge=query_relation", "compat=ofa_compress")))


def test_without_compat_nothing_changes() -> None:
    plain = ["data=generated", "method=unified_soft", "knowledge=hidden"]
    assert compose(plain).stages == compose([*plain, "compat=none"]).stages


def tinybert(*overrides: str, classes: int = 3) -> list[Term]:
    labels = "data.kind=regression" if classes == 1 else "data.labels=[a,b,c]"
    cfg = compose(["data=generated", labels, "method=skdbert", "sampling=none", "compat=tinybert", *overrides])
    student, teacher = Shape(2, 8, 2, classes), Shape(4, 8, 2, classes)
    return build_terms("task", cfg.stages.task.terms, student, [teacher], seed=1)  # type: ignore[return-value]


def test_tinybert_averages_soft_labels_over_the_classes() -> None:
    student, teacher = side(STUDENT, 1), side(TEACHER, 2)
    assert student.logits is not None and teacher.logits is not None
    expected = -(teacher.logits.softmax(-1) * student.logits.log_softmax(-1)).sum(-1) / 3
    torch.testing.assert_close(tinybert()[0](student, teacher), expected, atol=1e-12, rtol=0)


def test_on_a_regression_tinybert_has_no_teacher_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="kdbench"):
        (term,) = tinybert("data.labels=[]", "data.metrics=[pearson]", classes=1)
    assert term.knowledge.from_labels and "on a regression the chosen compat puts" in caplog.text
    student = ModelOutputs(
        torch.ones(2, 3, dtype=torch.bool), logits=torch.tensor([[1.0], [2.0]]), labels=torch.tensor([1.0, 0.0])
    )
    torch.testing.assert_close(term(student, None), torch.tensor([0.0, 4.0]))
