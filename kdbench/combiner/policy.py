"""An agent that learns which teachers to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kdbench import counter
from kdbench.combiner.base import Combiner, Lesson, gold_loss
from kdbench.error import ImpossibleError
from kdbench.outputs import ModelOutputs, Taps
from kdbench.sampling.base import Draws
from kdbench.shape import Shape
from kdbench.value import choice, positive, share

VERSION = 1


class Policy(Combiner, nn.Module):
    """Reinforced teacher selection (RL-KD, Yuan et al. 2021): for every row each teacher is taken with the probability
    pi_i = sigmoid(w_i . f), and the row's loss is the mean over those taken; of none, the labels are left.

    The state f is the first token's last hidden state of the team's first member (the paper has a further frozen model
    for it), every teacher's gold loss, every teacher's probabilities (the outputs, of a regression), and 1. The agent
    begins at pi = 1/2.

    It learns by REINFORCE with plain gradient ascent: w grows by lr (R - b) times the mean over the rows of
    (a - pi) f, which is the gradient of the log-probability of the actions a. The reward R of a step's actions is seen
    one step later, when the student that they taught meets its next batch; b is a running mean of the rewards. GLMKD
    multiplies the reward with the probability instead of its logarithm, has no baseline, and lets agent and student
    share an optimizer; the paper's third reward, the accuracy on validation rows, is not offered.

    Args:
        draws, shapes: see `Combiner`; the distribution is not used, the seed is.
        reward: `gold`, minus the student's loss on the gold labels, or `gold_and_soft`, minus that and minus the mean
            cross-entropy with all teachers' probabilities.
        lr: of the ascent.
        momentum: of the running mean of the rewards, from 0 to below 1.
    """

    weight: Tensor
    """(n, F), the agent."""
    eligibility: Tensor
    """(n, F), the gradient of the log-probability of the last step's actions, which still wait for their reward."""
    baseline: Tensor
    rewards: Tensor
    """How many rewards the baseline has seen."""

    student_taps = Taps(logits=True)

    def __init__(
        self,
        draws: Draws,
        shapes: Sequence[Shape],
        reward: Literal["gold", "gold_and_soft"] = "gold",
        lr: float = 0.01,
        momentum: float = 0.9,
    ) -> None:
        choice("combiner.reward", reward, ("gold", "gold_and_soft"))
        positive("combiner.lr", lr)
        share("combiner.momentum", momentum, below=True)
        nn.Module.__init__(self)
        Combiner.__init__(self, draws, shapes)
        self.reward, self.lr, self.momentum = reward, lr, momentum
        features = shapes[0].width + len(shapes) * (1 + shapes[0].classes) + 1
        for name in ("weight", "eligibility"):
            self.register_buffer(name, torch.zeros(len(shapes), features))
        for name in ("baseline", "rewards"):
            self.register_buffer(name, torch.zeros(()))

    @classmethod
    def check(cls, names: Sequence[str], shapes: Sequence[Shape]) -> None:
        if shapes[0].spans:
            raise ImpossibleError(
                "combiner=policy reads the classes that its teachers give, but the task is one of spans: choose "
                "combiner=mean"
            )

    @classmethod
    def taps(cls, member: int, shape: Shape) -> Taps:
        return Taps(logits=True, cls=frozenset({shape.layers}) if member == 0 else frozenset())

    def weights(self, lesson: Lesson, kind: str) -> Tensor:
        taken, _ = self.decided(lesson)
        return taken / taken.sum(dim=0).clamp(min=1.0)

    def decided(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """Which teachers are taken for each row, 0 or 1, and the probabilities of that, both (n, B)."""
        chances = torch.sigmoid(self.weight @ self.state(lesson).T)
        steps, micro = lesson.moment.progress.step, lesson.moment.micro_batch
        counters = np.meshgrid([steps], [micro], np.arange(len(self.draws)), np.arange(lesson.rows), indexing="ij")
        drawn = torch.from_numpy(counter.uniform(self.draws.seed, *counters)[0, 0]).to(chances)
        return (drawn < chances).to(chances), chances

    def state(self, lesson: Lesson) -> Tensor:
        """What the agent sees of each row, (B, F)."""
        first = lesson.said[0]
        answers = [_answer(outputs) for outputs in lesson.said.values()]
        losses = torch.stack([gold_loss(outputs) for outputs in lesson.said.values()], dim=1)
        token = first.cls[self.shapes[0].layers].float()
        return torch.cat([token, losses, *answers, torch.ones_like(losses[:, :1])], dim=1)

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Reward the last step's actions by how the student does now, and remember this step's."""
        with torch.no_grad():
            rows = sum(lesson.rows for lesson in lessons)
            reward = sum(self._rewards(lesson).sum() for lesson in lessons) / rows
            if self.rewards > 0:
                self.weight += self.lr * (reward - self.baseline) * self.eligibility
            kept = self.momentum if self.rewards > 0 else 0.0  # the first reward is the first baseline
            self.baseline.mul_(kept).add_((1.0 - kept) * reward)
            self.rewards += 1
            self.eligibility.zero_()
            for lesson in lessons:
                taken, chances = self.decided(lesson)
                self.eligibility += (taken - chances) @ self.state(lesson) / rows

    def _rewards(self, lesson: Lesson) -> Tensor:
        """(B,), the student's."""
        rewards = -gold_loss(lesson.student)
        if self.reward == "gold_and_soft":
            rewards = rewards - torch.stack([_soft(lesson.student, said) for said in lesson.said.values()]).mean(dim=0)
        return rewards


def _answer(outputs: ModelOutputs) -> Tensor:
    logits = _logits(outputs)
    return logits if logits.shape[1] == 1 else torch.softmax(logits, dim=-1)


def _soft(student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
    """The cross-entropy of the student with a teacher's probabilities, or the squared difference of two outputs."""
    ours, theirs = _logits(student), _logits(teacher)
    if ours.shape[1] == 1:
        return (ours - theirs)[:, 0].square()
    return -(torch.softmax(theirs, dim=-1) * torch.log_softmax(ours, dim=-1)).sum(dim=-1)


def _logits(outputs: ModelOutputs) -> Tensor:
    assert outputs.logits is not None
    return outputs.logits.detach().float()
