"""Which parts a matrix embedding has, and how wide they are: read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.error import KdbenchError
from kdbench.shape import Shape
from kdbench.value import choice, positive, share, switch, whole

ENCODERS = ("cbow", "cmow", "hybrid")
INITS = ("noisy_identity", "identity", "normal")


@dataclass(frozen=True)
class Layout:
    """The parts of an encoding.

    Attributes:
        vector: e, the width of a word's vector; 0 without vectors (`cmow`).
        side: d of a word's d x d matrix; 0 without matrices (`cbow`).
        bidirectional: whether there is a second product, from the last word back, of matrices of its own.
        turned: whether the second half of a token's state is that of the place as far from the other end, as released:
            with padding counted, so that a row's states depend on the length of its batch.
    """

    vector: int
    side: int
    bidirectional: bool
    turned: bool = False

    @property
    def directions(self) -> tuple[str, ...]:
        """The names of the ways in which words are read."""
        return ("ahead", "back") if self.bidirectional else ("ahead",)

    @property
    def parts(self) -> tuple[int, ...]:
        """The widths of what stands behind each other in an encoded sequence; a sum is the same either way."""
        return tuple(part for part in (self.vector, *(self.side**2 for _ in self.directions)) if part)

    @property
    def pooled(self) -> int:
        """The width of an encoded sequence: e + 2 d^2 of the bidirectional hybrid."""
        return sum(self.parts)

    @property
    def state(self) -> int:
        """The width of a token's state: 2 e + 2 d^2 of the bidirectional hybrid."""
        return (self.vector + self.side**2) * len(self.directions)

    @property
    def block(self) -> int | None:
        """The width of every part, where all have one."""
        return self.parts[0] if len(set(self.parts)) == 1 else None

    def shape(self, classes: int, words: bool = False, spans: bool = False) -> Shape:
        """Of a model with this encoder: one layer, as wide as a token's state, without attention.

        Args:
            classes: number of classes, 2 of spans; 0 on a corpus.
            words: whether it has a vocabulary head.
            spans: whether its logits are those of every token.
        """
        taps = {"hidden", "cls", "mean"} | ({"logits"} if classes else set()) | ({"decoder_inputs"} if words else set())
        return Shape(1, self.state, 1, classes, frozenset(taps), self.state if words else 0, spans=spans)

    @classmethod
    def of(cls, encoder: str, bidirectional: bool, matrix_width: int, vector_width: int, alignment: str) -> Layout:
        """The layout that these options of `student` ask for."""
        return cls(
            vector=0 if encoder == "cmow" else vector_width,
            side=0 if encoder == "cbow" else matrix_width,
            bidirectional=bidirectional,
            turned=alignment == "released",
        )


def checked_layout(options: Mapping[str, Any]) -> Layout:
    """Check the encoder's options in `student`, and read its layout from them.

    Raises:
        KdbenchError: a value that is none.
    """
    sizes = ("encoder", "bidirectional", "matrix_width", "vector_width", "alignment")
    choice("student.encoder", options["encoder"], ENCODERS)
    switch("student.bidirectional", options["bidirectional"])
    whole("student.matrix_width", options["matrix_width"])
    whole("student.vector_width", options["vector_width"])
    choice("student.alignment", options["alignment"], ("token", "released"))
    choice("student.init", options["init"], INITS)
    choice("student.padding", options["padding"], ("neutral", "released"))
    positive("student.std", options["std"])
    share("student.embedding_dropout", options["embedding_dropout"], below=True)
    whole("student.rank", options["rank"], null="whole matrices")
    _check_rank(options["rank"], options)
    _check_read(options)
    return Layout.of(*(options[size] for size in sizes))


def _check_rank(rank: int | None, options: Mapping[str, Any]) -> None:
    side = options["matrix_width"]
    if rank is None:
        return
    if options["encoder"] == "cbow":
        raise KdbenchError("student.rank is of matrices, and student.encoder=cbow has none: set it to null")
    if options["init"] != "noisy_identity":
        raise KdbenchError(
            f"student.init={options['init']} is of whole matrices, and with student.rank={rank} would leave factors "
            "that never learn or products that vanish: set student.init=noisy_identity, or student.rank=null"
        )
    if 2 * rank + 1 >= side:
        raise KdbenchError(
            f"student.rank={rank} saves nothing of matrices with student.matrix_width={side}: choose one below "
            f"{side // 2}, or null for whole matrices"
        )


def _check_read(options: Mapping[str, Any]) -> None:
    """Refuse an option that this encoder would not read."""
    if options["encoder"] == "cbow" and options["init"] != "noisy_identity":
        raise KdbenchError(
            f"student.init={options['init']} is of matrices, and student.encoder=cbow has none: leave it noisy_identity"
        )
    if options["alignment"] == "released" and not options["bidirectional"]:
        raise KdbenchError(
            "student.alignment=released is of the second of two directions: set student.bidirectional=true, or "
            "student.alignment=token"
        )
