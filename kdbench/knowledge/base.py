"""What is compared: tensors that a knowledge reads from `ModelOutputs`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from kdbench.matching.base import Pairs
from kdbench.outputs import ModelOutputs, Taps
from kdbench.shape import Shape


class Knowledge(ABC):
    """One kind of knowledge. A subclass says which taps it needs and turns them into one tensor a layer.

    A knowledge without layers (`layered = False`: labels, logits) is read once, at layer 0, and has neither matching
    nor projection.
    """

    layered: ClassVar[bool] = True
    from_labels: ClassVar[bool] = False
    """The teacher's side is the batch's labels: no teacher is run for such a term."""

    @abstractmethod
    def taps(self, layers: Iterable[int]) -> Taps:
        """What must be captured to read these layers."""

    @abstractmethod
    def extract(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """The tensor of one layer, batch first; a projection maps its last axis and a distribution runs over it."""

    def target(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """The teacher's side; the same reading unless a subclass says otherwise."""
        return self.extract(outputs, layer)

    def mask(self, outputs: ModelOutputs) -> Tensor | None:
        """The elements that count, broadcastable to what `extract` returns; None where padding plays no part."""
        return None

    def pairs(self, pairs: Pairs) -> Pairs:
        """The pairs that are compared, given those of the matching."""
        return pairs

    def width(self, shape: Shape) -> int | None:
        """The size of the last axis in a model of that shape, which a projection can map; None: it must not be."""
        return None

    def check(self, student: Shape, teacher: Shape, projected: bool) -> None:
        """Refuse shapes that cannot be compared; `projected` says whether a projection stands between the widths.

        Raises:
            ImpossibleError: one sentence with the way out.
        """
        return None
