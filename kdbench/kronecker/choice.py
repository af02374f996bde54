"""Which maps of an encoder are factored, and how: read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.kronecker.factors import Factors
from kdbench.value import divides, whole

POOLED = ("albert", "bert")
"""Types that have a pooler, under a head of classes."""


@dataclass(frozen=True)
class FactorChoice:
    """What is factored: the node `student.factors`.

    Attributes:
        attention, feed_forward, pooler: one factor's shape, as `{a: [m1, n1]}` or `{b: [m2, n2]}`; none leaves the maps
            dense. The four maps of attention have the same, the second map of the feed-forward block the transposed.
        embedding: the numbers of the row that all words share; None leaves the table dense.
        sums: products of each map.
    """

    attention: Mapping[str, Any] | None = None
    feed_forward: Mapping[str, Any] | None = None
    embedding: int | None = None
    pooler: Mapping[str, Any] | None = None
    sums: int = 1

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> FactorChoice:
        """Read and check the node.

        Raises:
            KdbenchError: an unknown key, or a shape that is none.
        """
        if not isinstance(node, Mapping):
            raise KdbenchError(
                f"student.factors={node} says nothing of what is factored: choose a preset, as student/factors=kb8, or "
                "student=bert"
            )
        if unknown := set(node) - set(cls.__dataclass_fields__):
            raise KdbenchError(
                f"student.factors.{min(unknown)} is no target: choose among {', '.join(cls.__dataclass_fields__)}"
            )
        found = cls(**node)
        whole("student.factors.sums", found.sums)
        whole("student.factors.embedding", found.embedding, null="a dense table")
        for target in ("attention", "feed_forward", "pooler"):
            _check_shape(f"student.factors.{target}", getattr(found, target))
        if found.embedding is None and not any(map(_given, (found.attention, found.feed_forward, found.pooler))):
            raise KdbenchError("student.factors names nothing to factor: choose a preset, as student/factors=kb8, or "
                               "student=bert")  # fmt: skip
        return found

    def refuse_missing_pooler(self, model_type: str) -> None:
        """Refuse to factor the pooler of a type that has none. Of BERT and ALBERT one is there under a head of classes,
        and not on a corpus, where nothing is asked of it.

        Raises:
            ImpossibleError: with the way out.
        """
        if _given(self.pooler) and model_type not in POOLED:
            raise ImpossibleError(
                f"student.factors.pooler: an encoder of type {model_type} has no pooler: set it to null"
            )

    def refuse_pooler_of_spans(self) -> None:
        """Refuse to factor the pooler of a reader of spans, which has none.

        Raises:
            ImpossibleError: with the way out.
        """
        if _given(self.pooler):
            raise ImpossibleError(
                "student.factors.pooler: a student that answers by spans has no pooler: set it to null"
            )

    def shared(self, width: int) -> int:
        """The numbers that all words share, 1 where the table is dense.

        Raises:
            ImpossibleError: a number that does not divide the embedding's width.
        """
        if self.embedding is not None:
            divides("student.factors.embedding", self.embedding, "the embedding's width", width)
        return self.embedding or 1

    def of(self, target: str, matrix: tuple[int, int]) -> Factors | None:
        """The factors of a map (m, n) of that target; None of one that stays dense.

        Raises:
            ImpossibleError: a shape that does not divide it.
        """
        turned = target == "feed_forward_out"
        node = self.feed_forward if turned else getattr(self, target)
        if not (given := _given(node)):
            return None
        ((side, shape),) = given
        rows, columns = reversed(shape) if turned else shape
        key = f"student.factors.{'feed_forward' if turned else target}.{side}"
        for size, part, name in zip(matrix, (rows, columns), ("rows", "columns"), strict=True):
            if size % part:
                raise ImpossibleError(
                    f"{key}={list(shape)}: {part} does not divide the {size} {name} of the map {matrix[0]} x "
                    f"{matrix[1]}: choose a divisor"
                )
        found = (rows, columns) if side == "a" else (matrix[0] // rows, matrix[1] // columns)
        return Factors.of(f"{key}={list(shape)}", matrix, found, self.sums)


def _given(node: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The factor whose shape is told, with its side."""
    return [] if node is None else [(side, shape) for side, shape in node.items() if shape is not None]


def _check_shape(key: str, node: object) -> None:
    known = node is None or (isinstance(node, Mapping) and set(node) <= {"a", "b"} and len(_given(node)) <= 1)
    shapes = [shape for _, shape in _given(node)] if known else []  # type: ignore[arg-type]
    pairs = all(isinstance(shape, list | tuple) and len(shape) == 2 for shape in shapes)
    if not (known and pairs and all(isinstance(each, int) and each > 0 for shape in shapes for each in shape)):
        raise KdbenchError(
            f"{key}={node} must be the shape of one of the two factors, as {{a: [8, 2], b: null}}; null for "
            "both leaves the maps dense"
        )
