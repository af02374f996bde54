"""One summand: the sum over its pairs, its declaration of taps, and its refusals."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from kdbench.config import compose
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.attention import Attention
from kdbench.knowledge.hidden import Hidden
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.matching.pairing import Pairing
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.margin import margin
from kdbench.objective.mse import mse
from kdbench.outputs import ModelOutputs, Taps
from kdbench.progress import Progress
from kdbench.projection.identity import Identity
from kdbench.schedule.linear import linear
from kdbench.schedule.step import step as phi
from kdbench.shape import Shape
from kdbench.term import Term
from kdbench.terms import build_terms

MASK = torch.tensor([[True, True, False]])


def outputs(layers: int, width: int = 4, seed: int = 0) -> ModelOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    heads = {layer: draw(1, 2, 3, 2) for layer in range(1, layers + 1)}
    return ModelOutputs(
        mask=MASK,
        logits=draw(1, 2),
        labels=torch.tensor([1]),
        hidden={layer: draw(1, 3, width) for layer in range(layers + 1)},
        scores={layer: -0.5 * value @ value.mT for layer, value in heads.items()},
    )


def test_a_term_sums_its_pairs_or_takes_their_mean() -> None:
    student, teacher = outputs(2), outputs(4, seed=1)
    pairs = [(1, 2), (2, 4)]
    expected = sum(mse(student.hidden[s], teacher.hidden[t], MASK[:, :, None]) for s, t in pairs)
    summed = Term("hidden", Hidden(False), mse, Pairing(pairs), Identity(4, 4, [1, 2], [2, 4]))
    averaged = Term("hidden", Hidden(False), mse, Pairing(pairs, "mean"), Identity(4, 4, [1, 2], [2, 4]))
    torch.testing.assert_close(summed(student, teacher), expected)
    torch.testing.assert_close(averaged(student, teacher), expected / 2)


def test_taps_name_exactly_the_paired_layers() -> None:
    term = Term("attention", Attention(), mse, Pairing([(1, 2), (2, 4)]), Identity(0, 0, [], []))
    assert term.student_taps == Taps(scores=frozenset({1, 2}))
    assert term.teacher_taps == Taps(scores=frozenset({2, 4}))
    assert Hidden(embeddings=True).pairs([(1, 2)]) == [(0, 0), (1, 2)]


def test_labels_need_no_teacher() -> None:
    term = Term("label", Label(), cross_entropy)
    assert term.teacher_taps == Taps()
    student = outputs(1)
    assert student.logits is not None and student.labels is not None
    torch.testing.assert_close(term(student, None), cross_entropy(student.logits, student.labels))


def test_a_term_that_sees_no_tensors_is_refused() -> None:
    with pytest.raises(KdbenchError, match="term 'hidden' compares no layers"):
        Term("hidden", Hidden(), mse, Pairing([]))
    term = Term("attention", Attention(), mse, Pairing([(1, 1)]), Identity(0, 0, [], []))
    silent = ModelOutputs(mask=MASK, logits=torch.zeros(1, 2))
    with pytest.raises(KdbenchError, match="term 'attention' sees no tensors of the student's layer 1"):
        term(silent, silent)


def test_projections_draw_from_a_generator_of_their_own() -> None:
    cfg = compose(["method=unified", "knowledge=hidden", "projection=to_teacher", "data=generated"])
    shapes = Shape(3, 4, 2, 2), Shape(6, 8, 2, 2)
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    first = build_terms("task", cfg.stages.task.terms, shapes[0], shapes[1:], seed=1)
    torch.testing.assert_close(torch.randn(3), expected)
    again = build_terms("task", cfg.stages.task.terms, shapes[0], shapes[1:], seed=1)
    other = build_terms("task", cfg.stages.task.terms, shapes[0], shapes[1:], seed=2)
    weights = [terms[-1].projection.maps_of_layers.linears[0].weight for terms in (first, again, other)]  # type: ignore[union-attr]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("overrides", "shapes", "complaint"),
    [
        (["knowledge=hidden"], (Shape(3, 4, 2, 2), Shape(6, 8, 2, 2)), "choose projection=to_teacher"),
        (["knowledge=attention"], (Shape(3, 4, 2, 2), Shape(6, 8, 4, 2)), "set student.heads=4"),
        (
            ["knowledge=attention", "projection=to_teacher"],
            (Shape(3, 8, 4, 2), Shape(6, 8, 4, 2)),
            "projection=identity",
        ),
        (["knowledge=hidden", "matching=first"], (Shape(7, 8, 4, 2), Shape(6, 8, 4, 2)), "student has 7"),
        (
            ["knowledge=attention"],
            (Shape(3, 8, 4, 2, frozenset({"logits", "hidden"})), Shape(6, 8, 4, 2)),
            "reads scores of the student",
        ),
    ],
)
def test_comparisons_that_cannot_work_are_refused(
    overrides: list[str], shapes: tuple[Shape, Shape], complaint: str
) -> None:
    cfg = compose(["method=unified", "data=generated", *overrides])
    with pytest.raises(ImpossibleError, match=complaint):
        build_terms("task", cfg.stages.task.terms, shapes[0], shapes[1:], seed=1)


def test_a_scheduled_weight_is_a_further_factor_of_the_weight() -> None:
    falling = partial(linear, start=1.0, end=0.5)
    term = Term("label", Label(), cross_entropy, weight=4.0, schedules={"weight": falling})
    assert [term.weight_at(Progress(step, 5, 5)) for step in range(5)] == [4.0, 3.5, 3.0, 2.5, 2.0]
    assert Term("label", Label(), cross_entropy, weight=4.0).weight_at(Progress(3, 5, 5)) == 4.0
    assert term.schedules == {}, "the weight is no option of the objective"


def test_a_scheduled_option_takes_the_place_of_the_objective_s_own() -> None:
    student, teacher = outputs(1), outputs(1, seed=1)
    assert student.logits is not None and teacher.logits is not None
    cooling = partial(linear, start=4.0, end=1.0)
    term = Term("soft", Logits(), partial(kl, temperature=9.0), schedules={"temperature": cooling})
    for step, temperature in ((0, 4.0), (1, 2.5), (2, 1.0)):
        found = term(student, teacher, Progress(step, 3, 3))
        torch.testing.assert_close(found, kl(student.logits, teacher.logits, temperature=temperature))


def test_a_scale_that_grows_moves_target_and_tolerance_together() -> None:
    """Continuation-KD's transfer term: one schedule for phi, within which the margin grows too."""
    student, teacher = outputs(1), outputs(1, seed=1)
    assert student.logits is not None and teacher.logits is not None
    objective = partial(margin, inner=partial(mse, reduction="sum"), margin=0.5)
    term = Term("soft", Logits(), objective, schedules={"teacher_scale": partial(phi, steps=4)})
    for step, scale in ((0, 0.25), (4, 0.5), (7, 0.75), (10, 1.0)):
        norm = (student.logits - scale * teacher.logits).square().sum(dim=1)
        torch.testing.assert_close(term(student, teacher, Progress(step, 11, 11)), (norm - 0.5 * scale).clamp(min=0.0))


def test_schedules_are_built_from_the_configuration() -> None:
    key = "stages.task.terms.soft.schedule"
    cfg = compose(
        [
            *("method=kd", "data=generated", f"+schedule@{key}.weight=window", f"{key}.weight.begin=0.5"),
            *(f"+schedule@{key}.temperature=linear", f"{key}.temperature.start=4", f"{key}.temperature.end=2"),
        ]
    )
    shapes = Shape(3, 4, 2, 2), Shape(6, 8, 2, 2)
    label, soft = build_terms("task", cfg.stages.task.terms, shapes[0], shapes[1:], seed=1)
    assert [soft.weight_at(Progress(step, 5, 5)) for step in range(5)] == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert soft.schedules["temperature"](0.5) == 3.0
    assert label.weight_at(Progress(0, 5, 5)) == 1.0 and label.schedules == {}
