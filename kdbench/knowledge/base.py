"""What is compared: tensors that a knowledge reads from `ModelOutputs`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdbench.error import ImpossibleError
from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape

Objective = Callable[..., Tensor]
Values = Any
"""What a knowledge reads of a layer: a tensor, batch first; `kdbench.decoder.Words` where that tensor would be too
large to be there at once, which no projection maps and no pairing joins."""
Distance = Callable[[Values, Values, Tensor], Tensor]
"""(student, teacher, tokens) -> (B,): how far apart two sides are as `extract` or `join` returned them, projected."""


class Knowledge(ABC):
    """One kind of knowledge: what is read of a layer (`extract`), and what is compared of that (`relate`).

    A projection stands between the two, so that it maps hidden states and not the relations made of them.

    A knowledge without layers (`layered = False`: labels, logits) is read once, at layer 0, and has neither matching
    nor projection. One that is joint reads all its layers at once and compares them as one tensor: relations between
    layers, concatenations.
    """

    layered: ClassVar[bool] = True
    joint: bool = False
    in_batch: bool = False
    """A sample is compared with the other samples of its batch, so that the loss depends on who they are."""

    of_words: ClassVar[bool] = False
    """What is compared are scores of all words at some places, a row of them each, and not of the task's classes."""

    of_hidden_words: ClassVar[bool] = False
    """It needs the words that a corpus hides, which the prompts of a task do not have."""

    from_labels: ClassVar[bool] = False
    """The teacher's side is the batch's labels: no teacher is run for such a term."""

    kind: str = "tensors"
    """What an objective meets: `classes`, `logits`, `tensors`, or `probabilities`; `kdbench.objective` says the words.
    A regression's labels and logits are `values` by themselves."""

    @abstractmethod
    def taps(self, layers: Iterable[int]) -> Taps:
        """What must be captured to read these layers."""

    def target_taps(self, layers: Iterable[int]) -> Taps:
        """What must be captured of the teacher to read these layers of it."""
        return self.taps(layers)

    @abstractmethod
    def extract(self, outputs: ModelOutputs, layer: int) -> Values:
        """What is read of one layer, batch first; a projection maps its last axis."""

    def target(self, outputs: ModelOutputs, layer: int) -> Values:
        """The teacher's side; the same reading unless a subclass says otherwise."""
        return self.extract(outputs, layer)

    def join(self, layers: Sequence[Tensor]) -> Tensor:
        """All layers of a joint knowledge as one tensor, by default stacked: L times (B, ...) -> (B, L, ...)."""
        return torch.stack(list(layers), dim=1)

    def relate(self, values: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is compared, and which of its elements count.

        Args:
            values: what `extract` or `join` returned, projected.
            tokens: (B, S), true on real tokens.

        Returns:
            A tensor with the batch first, over whose last axis a distribution runs, and a mask that broadcasts to it;
            None where padding plays no part.
        """
        return values, None

    def distance(self, objective: Objective, student: Values, teacher: Values, tokens: Tensor) -> Tensor:
        """The objective between what is compared of the two sides, as it is written: (B,)."""
        left, mask = self.relate(student, tokens)
        right, _ = self.relate(teacher, tokens)
        return objective(left, right, mask)

    def fused(self, objective: Objective) -> Distance | None:
        """A faster function equal to `distance` with that objective, up to rounding; None where there is none.

        Args:
            objective: with its options, as `kdbench.fused.options.changed_options` reads them; one that the faster
                function does not know makes it None.
        """
        return None

    def pairs(self, pairs: Pairs) -> Pairs:
        """The pairs that are compared, given those of the matching."""
        return pairs

    def width(self, shape: Shape, layers: int) -> int | None:
        """The size of the last axis that a projection maps; None where there is none to be mapped.

        Args:
            shape: of the model.
            layers: how many layers a joint knowledge is given.
        """
        return None

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        """Refuse shapes that cannot be compared; `projected` says whether a projection stands between the widths.

        Raises:
            ImpossibleError: one sentence with the way out.
        """
        return None


def with_embeddings(pairs: Pairs) -> Pairs:
    """The pairs with that of the embedding outputs, (0, 0), before them, unless it is among them already."""
    return pairs if (0, 0) in pairs else [(0, 0), *pairs]


def refuse_unequal_widths(knowledge: str, student: Shape, teacher: Shape, projected: bool) -> None:
    """The refusal of every knowledge that compares by the element of a width."""
    if student.width != teacher.width and not projected:
        raise ImpossibleError(
            f"knowledge={knowledge} with projection=identity needs equal widths, but the student's is {student.width} "
            f"and the teacher's {teacher.width}: choose projection=to_teacher"
        )


def refuse_projection(knowledge: str, projected: bool) -> None:
    """The refusal of every knowledge that has no width."""
    if projected:
        raise ImpossibleError(
            f"knowledge={knowledge} compares what has no width for a projection to map: choose projection=identity"
        )
