"""One pair of late layers, below the last."""

from __future__ import annotations

from kdbench.error import ImpossibleError
from kdbench.matching.base import Matching, Pairs
from kdbench.value import whole

VERSION = 1


class Penultimate(Matching):
    """The layers that lie `offset` below the last ones meet, and no others: (last-2):(last-2).

    What Minitron (Muralidharan et al. 2024, appendix) reports as best, citing "KD of Transformer-based Language Models
    Revisited": the top one or two layers are over-specialised. With layers counted from 1, the layer `last` is the
    depth itself, so that of 12 layers an offset of 2 means layer 10, and 1 the one that is literally penultimate.

    Args:
        offset: how far below the last layer, on both sides.
    """

    def __init__(self, offset: int = 2) -> None:
        whole("matching.offset", offset)
        self.offset = offset

    def pairs(self, student_layers: int, teacher_layers: int) -> Pairs:
        shallow = min(student_layers, teacher_layers)
        if self.offset >= shallow:
            way_out = f"set matching.offset={shallow - 1}" if shallow > 1 else "choose matching=single"
            raise ImpossibleError(
                f"matching.offset={self.offset} leads below the lowest of {shallow} layers (student {student_layers}, "
                f"teacher {teacher_layers}): {way_out} or a deeper student/size"
            )
        return [(student_layers - self.offset, teacher_layers - self.offset)]
