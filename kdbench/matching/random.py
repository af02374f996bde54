"""A random choice of teacher layers, made anew as the training goes on."""

from __future__ import annotations

import torch

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.matching.base import Matching, Pairs, refuse_deeper_student
from kdbench.matching.pairing import Pairing, Reduction
from kdbench.progress import Progress
from kdbench.seeds import derive
from kdbench.value import switch, whole

VERSION = 1


class Random(Matching):
    """As many teacher layers as the student has, drawn without replacement and sorted (RAIL-KD, Haidar et al. 2022).

    Each draw is a function of the run's seed and of its own number, so a resumed training sees the draws that an
    unbroken one sees, and no other random number of the run is shifted.

    Args:
        every_steps: optimizer steps from one draw to the next; None: epochs count.
        every_epochs: epochs from one draw to the next, as in the paper (1); None: steps count.
        include_last: whether the two last layers take part; False is the paper, which draws from the teacher's layers
            below the last for the student's layers below the last.
    """

    def __init__(self, every_steps: int | None = None, every_epochs: int | None = 1, include_last: bool = True) -> None:
        whole("matching.every_steps", every_steps, null="draws by epochs")
        whole("matching.every_epochs", every_epochs, null="draws by steps")
        switch("matching.include_last", include_last)
        if (every_steps is None) == (every_epochs is None):
            raise KdbenchError(
                f"matching.every_steps={every_steps} and matching.every_epochs={every_epochs} must be one number and "
                "one null: set matching.every_epochs=null to draw by steps"
            )
        self.every_steps, self.every_epochs, self.include_last = every_steps, every_epochs, include_last

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        refuse_deeper_student("random", student_layers, teacher_layers)
        left_out = 0 if self.include_last else 1
        if student_layers == left_out:
            raise ImpossibleError(
                "matching.include_last=false leaves a student of one layer nothing to match: set "
                "matching.include_last=true or choose a deeper student/size"
            )
        spare = teacher_layers - student_layers  # the i-th of a sorted choice is one of i to i + spare
        highest = student_layers - left_out
        return [(layer, layer + more) for layer in range(1, highest + 1) for more in range(spare + 1)]

    def pairing(self, pairs: Pairs, reduction: Reduction, seed: int) -> Pairing:
        return RandomPairing(pairs, reduction, seed, self.every_steps, self.every_epochs)


class RandomPairing(Pairing):
    """A sorted choice of the teacher's layers, one for each student layer, every choice equally likely.

    Args:
        pairs: every pair that some choice has; a pair of the embedding outputs is in all of them.
        reduction: see `Pairing`.
        seed: of the draws.
        every_steps, every_epochs: how long a draw holds; one of them is None.
    """

    def __init__(
        self, pairs: Pairs, reduction: Reduction, seed: int, every_steps: int | None, every_epochs: int | None
    ) -> None:
        super().__init__(pairs, reduction)
        self.seed, self.every_steps, self.every_epochs = seed, every_steps, every_epochs
        self.apart = [pair for pair in pairs if 0 in pair]
        self.students = sorted({ours for ours, _ in pairs} - {0})
        self.teachers = sorted({theirs for _, theirs in pairs} - {0})

    def drawn(self, progress: Progress) -> Pairs:
        generator = torch.Generator().manual_seed(derive(self.seed, "draw", str(self._number(progress))))
        places = torch.randperm(len(self.teachers), generator=generator)[: len(self.students)].sort().values
        chosen = [self.teachers[place] for place in places.tolist()]
        return [*self.apart, *zip(self.students, chosen, strict=True)]

    def _number(self, progress: Progress) -> int:
        if self.every_steps is not None:
            return progress.step // self.every_steps
        assert self.every_epochs is not None
        return progress.epoch // self.every_epochs
