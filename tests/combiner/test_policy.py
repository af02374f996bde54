"""The agent: what it sees, decides and learns."""

from __future__ import annotations

import numpy as np
import torch

from kdbench.combiner.base import Lesson
from kdbench.combiner.policy import Policy
from kdbench.outputs import ModelOutputs
from kdbench.progress import Progress
from kdbench.sampling.base import Draws, Moment
from kdbench.sampling.uniform import Uniform
from kdbench.shape import Shape

ROWS, WIDTH = 16, 4
SHAPES = [Shape(2, WIDTH, 2, 2), Shape(3, 8, 2, 2)]


def policy(**options: object) -> Policy:
    return Policy(Draws(Uniform(), np.full(2, 0.5), 5), SHAPES, **options)  # type: ignore[arg-type]


def lesson(step: int, student_error: float = 0.5) -> Lesson:
    """Both teachers are right about every row; how wrong the student is, is given."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 2, (ROWS,), generator=generator)
    mask = torch.ones(ROWS, 3, dtype=torch.bool)
    signs = torch.nn.functional.one_hot(labels, 2).float()
    tokens = torch.randn(ROWS, WIDTH, generator=generator)
    said = {place: ModelOutputs(mask, logits=4.0 * signs, labels=labels, cls={2: tokens}) for place in range(2)}
    logit = float(np.log(np.expm1(student_error)))  # -log sigmoid(-x) = error
    student = ModelOutputs(mask, logits=signs * -logit, labels=labels)
    return Lesson(student, said, Moment(Progress(step, 1000, 10), 0, np.arange(ROWS)))


def test_it_begins_at_one_half_and_weighs_the_mean_of_those_it_takes() -> None:
    agent = policy()
    taken, chances = agent.decided(lesson(0))
    assert bool((chances == 0.5).all()) and set(taken.unique().tolist()) == {0.0, 1.0}
    weights = agent.weights(lesson(0), "logits")
    assert torch.equal(weights, agent.weights(lesson(0), "tensors"))
    assert torch.equal(weights.sum(dim=0), (taken.sum(dim=0) > 0).float())
    assert agent.state(lesson(0)).shape == (ROWS, WIDTH + 2 * (1 + 2) + 1) == (ROWS, agent.weight.shape[1])


def test_what_is_remembered_is_the_gradient_of_the_log_probability() -> None:
    agent = policy()
    torch.manual_seed(0)
    agent.weight.normal_(std=0.3)
    taken, _ = agent.decided(lesson(3))
    weight = agent.weight.clone().requires_grad_()
    chances = torch.sigmoid(weight @ agent.state(lesson(3)).T)
    logged = (taken * chances.log() + (1 - taken) * (1 - chances).log()).sum() / ROWS
    (gradient,) = torch.autograd.grad(logged, weight)
    agent.learn([lesson(3)])
    torch.testing.assert_close(agent.eligibility, gradient)


def test_the_reward_comes_one_step_later_above_a_baseline() -> None:
    agent = policy(lr=0.5, momentum=0.5)
    agent.learn([lesson(0, 0.8)])
    assert not agent.weight.any() and abs(float(agent.baseline) + 0.8) < 1e-5
    remembered = agent.eligibility.clone()
    agent.learn([lesson(1, 0.2)])
    torch.testing.assert_close(agent.weight, 0.5 * (-0.2 + 0.8) * remembered, rtol=1e-4, atol=1e-6)
    assert abs(float(agent.baseline) + 0.5) < 1e-5


def test_of_two_teachers_it_learns_to_take_the_one_that_helps() -> None:
    """A student whose error after a step is the share of rows that the second teacher taught."""
    agent = policy(lr=0.5)
    error = 0.5
    for step in range(600):
        current = lesson(step, 0.2 + error)
        taken, chances = agent.decided(current)
        agent.learn([current])
        error = float(taken[1].mean()) - 0.5 * float(taken[0].mean()) + 0.5
    assert float(chances[0].mean()) > 0.9 and float(chances[1].mean()) < 0.1


def test_its_state_is_a_part_of_a_checkpoint() -> None:
    agent = policy()
    for step in range(3):
        agent.learn([lesson(step, 0.3 + 0.1 * step)])
    other = policy()
    other.load_state_dict(agent.state_dict())
    for each in (agent, other):
        each.learn([lesson(3, 0.1)])
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in agent.state_dict().items())
    assert list(agent.parameters()) == []
