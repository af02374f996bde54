"""The top layers meet in reversed order, as one release pairs them."""

from __future__ import annotations

from kdbench.matching.base import Matching, Pairs
from kdbench.matching.last import Last

VERSION = 1


class LastReversed(Matching):
    """The last `count` layers of both, the student's highest with the teacher's lowest of them: a compat option.

    It reproduces the defect of the release of "KD of Transformer-based Language Models Revisited" (OFA-Compress,
    `lastK`): the teacher's layers are counted up while the student's are counted down. For 12 -> 4 and 2 layers,
    student layer 4 meets teacher layer 11 and 3 meets 12; `last` pairs them in order. Nothing takes it by default.

    Args:
        count: how many layers of either meet; None: every layer of the student, which that release pairs in order.
    """

    def __init__(self, count: int | None = 2) -> None:
        self.count = count

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        pairs = Last(self.count).pairs(student_layers, teacher_layers)
        if self.count is None:
            return pairs
        met = [theirs for _, theirs in reversed(pairs)]
        return [(ours, theirs) for (ours, _), theirs in zip(pairs, met, strict=True)]
