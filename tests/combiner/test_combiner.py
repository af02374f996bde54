"""What combiners make of several teachers' answers: closed forms and the identities between them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from kdbench.combiner.base import Combiner, Lesson, gold_loss
from kdbench.combiner.by_uncertainty import ByUncertainty, uncertainty
from kdbench.combiner.drawn import Drawn
from kdbench.combiner.inverse_loss import InverseLoss
from kdbench.combiner.mean import Mean, MeanLogits, MeanProbabilities, Sum
from kdbench.combiner.stochastic_drop import StochasticDrop
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.label import Label
from kdbench.knowledge.logits import Logits
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.mse import mse
from kdbench.objective.soft_cross_entropy import soft_cross_entropy
from kdbench.outputs import ModelOutputs
from kdbench.progress import START, Progress
from kdbench.sampling.base import Draws, Moment
from kdbench.sampling.explicit import Explicit
from kdbench.sampling.uniform import Uniform
from kdbench.shape import Shape
from kdbench.team_term import TeamTerm
from kdbench.term import Term

ROWS, CLASSES, TEACHERS, TEMPERATURE = 6, 3, 4, 2.5
P = np.array([0.1, 0.2, 0.3, 0.4])
SHAPES = [Shape(layers, 8, 2, CLASSES) for layers in (1, 2, 3, 4)]


def outputs(seed: int, classes: int = CLASSES) -> ModelOutputs:
    generator = torch.Generator().manual_seed(int(seed))
    logits = torch.randn(ROWS, classes, generator=generator, dtype=torch.float64)
    labels = torch.arange(ROWS) % classes if classes > 1 else torch.linspace(0, 1, ROWS, dtype=torch.float64)
    return ModelOutputs(torch.ones(ROWS, 5, dtype=torch.bool), logits=logits, labels=labels)


def lesson(combiner: Combiner, step: int = 0, classes: int = CLASSES, student: ModelOutputs | None = None) -> Lesson:
    moment = Moment(Progress(step, 10_000, 10), 0, np.arange(ROWS))
    said = {place: outputs(10 + place, classes) for place in combiner.asked(moment)}
    return Lesson(student or outputs(0, classes), said, moment)


def draws(p: np.ndarray = P, granularity: str = "step", seed: int = 0) -> Draws:
    given = Explicit({str(place): float(share) for place, share in enumerate(p)}, granularity)  # type: ignore[arg-type]
    return Draws(given, p, seed)


def term(objective: object = None, teachers: int = TEACHERS) -> TeamTerm:
    objective = objective or partial(soft_cross_entropy, temperature=TEMPERATURE)
    return TeamTerm([Term("soft", Logits(), objective) for _ in range(teachers)])  # type: ignore[arg-type]


def loss_and_gradient(
    combiner: Combiner, taught: TeamTerm, step: int = 0, classes: int = CLASSES
) -> tuple[Tensor, Tensor]:
    student = outputs(0, classes)
    assert student.logits is not None
    student.logits.requires_grad_()
    found = taught(lesson(combiner, step, classes, student), combiner, START)
    (gradient,) = torch.autograd.grad(found.sum(), student.logits)
    return found.detach(), gradient


def expected_of_draws(taught: TeamTerm, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """sum_i p_i of loss and gradient with teacher i alone."""
    losses, gradients = [], []
    for place in range(TEACHERS):
        alone = draws(np.eye(TEACHERS)[place])
        found = loss_and_gradient(Drawn(alone, SHAPES), taught, 0, classes)
        losses.append(P[place] * found[0])
        gradients.append(P[place] * found[1])
    return torch.stack(losses).sum(0), torch.stack(gradients).sum(0)


def test_drawing_is_in_expectation_the_mean_of_probabilities_and_not_of_logits() -> None:
    """The cross-entropy is linear in its target."""
    expected = expected_of_draws(term())
    found = loss_and_gradient(MeanProbabilities(draws(), SHAPES), term())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    other = loss_and_gradient(MeanLogits(draws(), SHAPES), term())
    assert (other[1] - expected[1]).norm() > 0.01 * expected[1].norm()


def test_of_the_squared_error_it_is_the_mean_of_logits_and_their_variance() -> None:
    for classes in (CLASSES, 1):
        expected = expected_of_draws(term(mse), classes)
        found = loss_and_gradient(MeanLogits(draws(), SHAPES), term(mse), 0, classes)
        torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-7)
        logits = torch.stack([outputs(10 + place, classes).logits for place in range(TEACHERS)])  # type: ignore[misc]
        p = torch.from_numpy(P)[:, None, None]
        variance = (p * (logits - (p * logits).sum(0)).square()).sum(0).mean(dim=1)
        torch.testing.assert_close(found[0] + variance, expected[0], rtol=1e-6, atol=1e-7)


def test_of_a_regression_both_means_are_those_of_the_values() -> None:
    sides = [loss_and_gradient(of(draws(), SHAPES), term(mse), 0, 1) for of in (MeanLogits, MeanProbabilities)]
    for ours, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_mean_of_losses_is_the_expectation_of_draws() -> None:
    for objective in (None, mse):
        for ours, theirs in zip(
            loss_and_gradient(Mean(draws(), SHAPES), term(objective)), expected_of_draws(term(objective)), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_many_draws_come_near_their_expectation_and_only_add_variance() -> None:
    expected = loss_and_gradient(MeanProbabilities(draws(), SHAPES), term())[1].flatten()
    steps = 4000
    found = torch.stack([loss_and_gradient(Drawn(draws(), SHAPES), term(), step)[1].flatten() for step in range(steps)])
    spread = found.std(dim=0)
    assert ((found.mean(dim=0) - expected).abs() < 5 * spread / math.sqrt(steps) + 1e-9).all()
    agreeing = {place: outputs(10) for place in range(TEACHERS)}
    combiner = Drawn(draws(), SHAPES)
    gradients = []
    for step in range(20):
        student = outputs(0)
        assert student.logits is not None
        student.logits.requires_grad_()
        moment = Moment(Progress(step, 20, 10), 0, np.arange(ROWS))
        said = {place: agreeing[place] for place in combiner.asked(moment)}
        gradients.append(
            torch.autograd.grad(term()(Lesson(student, said, moment), combiner, START).sum(), student.logits)[0]
        )
    assert torch.stack(gradients).std(dim=0).max() == 0.0


def test_examples_draw_their_own_teachers() -> None:
    combiner = Drawn(draws(granularity="example"), SHAPES)
    taught = lesson(combiner)
    drawn = combiner.draws.at(taught.moment)
    assert list(taught.said) == sorted(set(drawn))
    alone = torch.stack(
        [
            soft_cross_entropy(outputs(0).logits, outputs(10 + member).logits, temperature=TEMPERATURE)[row]  # type: ignore[arg-type]
            for row, member in enumerate(drawn)
        ]
    )
    torch.testing.assert_close(term()(taught, combiner, START), alone)


def test_sums_and_labels() -> None:
    combiner = Sum(draws(), SHAPES)
    every = [soft_cross_entropy(outputs(0).logits, outputs(10 + place).logits) for place in range(TEACHERS)]  # type: ignore[arg-type]
    torch.testing.assert_close(term(soft_cross_entropy)(lesson(combiner), combiner, START), torch.stack(every).sum(0))
    label = Term("label", Label(), cross_entropy)
    torch.testing.assert_close(label(outputs(0), None), cross_entropy(outputs(0).logits, outputs(0).labels))  # type: ignore[arg-type]


def test_teachers_weigh_by_their_own_loss() -> None:
    combiner = InverseLoss(draws(), SHAPES)
    taught = lesson(combiner)
    weights = combiner.weights(taught, "logits")
    losses = torch.stack([cross_entropy(said.logits.float(), said.labels) for said in taught.said.values()])  # type: ignore[union-attr,arg-type]
    assert bool((weights > 0).all()) and bool((weights <= 1).all())
    torch.testing.assert_close(weights[0] / weights[1], (1 + losses[1]) / (1 + losses[0]))
    assert bool((combiner.weights(taught, "tensors") == 1.0).all())
    assert torch.equal(InverseLoss(draws(), SHAPES, weighs="all").weights(taught, "tensors"), weights)
    sure = ModelOutputs(taught.student.mask, logits=torch.eye(3)[outputs(0).labels] * 1e4, labels=outputs(0).labels)
    perfect = Lesson(taught.student, {0: sure}, taught.moment)
    torch.testing.assert_close(combiner.weights(perfect, "logits"), torch.ones(1, ROWS))


def test_rows_without_a_label_have_no_gold_loss() -> None:
    found = outputs(0)
    labels = torch.tensor([0, -1, 1, -1, 2, 0])
    losses = gold_loss(ModelOutputs(found.mask, logits=found.logits, labels=labels))
    assert losses[[1, 3]].tolist() == [0.0, 0.0] and bool((losses[[0, 2, 4, 5]] > 0).all())
    values = torch.tensor([0.5, math.nan])
    single = ModelOutputs(found.mask, logits=torch.tensor([[0.0], [1.0]]), labels=values)
    assert gold_loss(single).tolist() == [0.25, 0.0]


def test_doubt_is_routed_to_small_teachers() -> None:
    logits = torch.tensor([[9.0, 0, 0], [0.1, 0, 0], [2.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0], [4.0, 0, 0]])
    student = ModelOutputs(torch.ones(ROWS, 5, dtype=torch.bool), logits=logits)
    combiner = ByUncertainty(Draws(Uniform(), np.full(3, 1 / 3), 0), SHAPES[:3])
    taught = lesson(combiner, student=student)
    weights = combiner.weights(taught, "logits")
    assert weights.sum(dim=0).tolist() == [1.0] * ROWS and weights.sum(dim=1).tolist() == [2.0] * 3
    assert weights.argmax(dim=0).tolist() == [2, 0, 1, 0, 1, 2]


def test_soft_routing_moves_from_the_last_to_the_first_teacher() -> None:
    for count in (2, 4):
        even = Draws(Uniform(), np.full(count, 1 / count), 0)
        combiner = ByUncertainty(even, SHAPES[:count], mode="soft")
        taught = lesson(combiner)
        weights, doubt = combiner.weights(taught, "logits"), uncertainty(outputs(0).logits)  # type: ignore[arg-type]
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(ROWS))
        places = (weights * torch.arange(count)[:, None]).sum(dim=0)
        torch.testing.assert_close(places, (1 - doubt) * (count - 1))
        whole = ByUncertainty(even, SHAPES[:count], mode="soft", entropy="batch").weights(taught, "logits")
        torch.testing.assert_close(whole, whole[:, :1].expand_as(whole))
    torch.testing.assert_close(uncertainty(torch.zeros(1, 5)), torch.ones(1))


def test_no_doubt_has_a_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    assert not uncertainty(logits).requires_grad


def test_teachers_survive_as_often_as_they_should() -> None:
    combiner = StochasticDrop(draws(), SHAPES, survival=0.75)
    asked = [combiner.asked(Moment(Progress(step, 4000, 10), 0, np.arange(ROWS))) for step in range(4000)]
    counts = np.bincount(np.concatenate(asked).astype(int), minlength=TEACHERS) / 4000
    assert (abs(counts - 0.75) < 0.03).all()
    nobody = next(step for step, members in enumerate(asked) if not members)
    loss, gradient = loss_and_gradient(combiner, term(), nobody)
    assert not loss.any() and not gradient.any()


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        (lambda: ByUncertainty.check(["a"], [Shape(1, 8, 2, 1)]), "needs classes.*choose combiner=mean"),
        (lambda: ByUncertainty.check(["big", "small"], SHAPES[1::-1]), "from small to large, but this one is big, sm"),
    ],
)
def test_teams_that_cannot_be_combined_are_refused(check: object, complaint: str) -> None:
    with pytest.raises(ImpossibleError, match=complaint):
        check()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: StochasticDrop(draws(), SHAPES, 0.0), "combiner.survival=0 would drop every teacher"),
        (lambda: InverseLoss(draws(), SHAPES, "labels"), "combiner.weighs=labels is unknown"),  # type: ignore[arg-type]
        (lambda: ByUncertainty(draws(), SHAPES, "firm"), "combiner.mode=firm is unknown"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_range_are_refused(make: object, complaint: str) -> None:
    with pytest.raises(KdbenchError, match=complaint):
        make()  # type: ignore[operator]
