"""From a stage's configuration to its terms, refusing on the way what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.config import compares, instantiate
from kdbench.error import ImpossibleError
from kdbench.knowledge.base import Knowledge
from kdbench.matching.base import Matching, Pairs
from kdbench.projection.base import Projection
from kdbench.seeds import drawing
from kdbench.shape import Shape
from kdbench.term import WITHOUT_LAYERS, Objective, Term
from kdbench.value import positive, share


@dataclass(frozen=True)
class Parts:
    """The built options of one term, and the layer pairs that it compares."""

    knowledge: Knowledge
    objective: Objective
    pairs: Pairs
    projection: Callable[..., Projection] | None


def parts_of(key: str, term: Mapping[str, Any], student: Shape, teacher: Shape) -> Parts:
    """Build a term's options and refuse a comparison that cannot work.

    Args:
        key: the term's place in the configuration, named in a refusal.
        term: completed by `kdbench.config.complete`.
        student, teacher: the two shapes.

    Raises:
        ImpossibleError: one sentence with the way out.
    """
    knowledge: Knowledge = instantiate(term["knowledge"])
    objective: Objective = instantiate(term["objective"])
    _options(key, knowledge, term, student)
    if not knowledge.layered:
        _hands_out(key, knowledge, WITHOUT_LAYERS, student, teacher)
        return Parts(knowledge, objective, WITHOUT_LAYERS, None)
    matching: Matching = instantiate(term["matching"])
    projection: Callable[..., Projection] = instantiate(term["projection"])
    pairs = knowledge.pairs(matching.pairs(student.layers, teacher.layers))
    _hands_out(key, knowledge, pairs, student, teacher)
    if any(0 in pair for pair in pairs) and not knowledge.taps({0}).hidden:
        raise ImpossibleError(
            f"{key}.matching pairs layer 0, the embedding output, which only knowledge=hidden reads: leave it out"
        )
    maps = bool(getattr(getattr(projection, "func", projection), "maps", True))
    knowledge.check(student, teacher, maps)
    return Parts(knowledge, objective, pairs, projection)


def build_terms(stage: str, terms: Mapping[str, Any], student: Shape, teacher: Shape, seed: int) -> list[Term]:
    """The terms of a stage; projections draw their weights from a generator of their own."""
    built = []
    for name, term in terms.items():
        parts = parts_of(f"stages.{stage}.terms.{name}", term, student, teacher)
        projection = None
        if parts.projection is not None:
            # A knowledge without a width to map (attention maps) meets only `identity`, which needs no sizes.
            widths = (parts.knowledge.width(student) or 0, parts.knowledge.width(teacher) or 0)
            with drawing(seed, "projection", stage, name):
                projection = parts.projection(*widths, len(parts.pairs))
        built.append(
            Term(
                name,
                parts.knowledge,
                parts.objective,
                parts.pairs,
                projection,
                float(term["weight"]),
                term["reduction"],
            )
        )
    return built


def _options(key: str, knowledge: Knowledge, term: Mapping[str, Any], student: Shape) -> None:
    """Refuse an objective that cannot compare what the knowledge reads, and options out of range."""
    objective = term["objective"]
    if knowledge.layered:
        what = "tensors"
    elif student.classes == 1:
        what = "values"
    else:
        what = "classes" if knowledge.from_labels else "logits"
    if what not in compares(objective):
        raise ImpossibleError(
            f"{key}: objective={str(objective['_target_']).rpartition('.')[2]} cannot compare the {what} that "
            f"knowledge={str(term['knowledge']['_target_']).split('.')[-2]} reads: choose objective="
            f"{'cross_entropy' if what == 'classes' else 'mse'}, or none for the customary one"
        )
    if "temperature" in objective:
        positive(f"{key}.objective.temperature", objective["temperature"])
    if "label_smoothing" in objective:
        share(f"{key}.objective.label_smoothing", objective["label_smoothing"], below=True)


def _hands_out(key: str, knowledge: Knowledge, pairs: Pairs, student: Shape, teacher: Shape) -> None:
    """Refuse a knowledge that one of the two architectures cannot give."""
    for role, shape, layers in (
        ("student", student, {pair[0] for pair in pairs}),
        ("teacher", teacher, {pair[1] for pair in pairs}),
    ):
        taps = knowledge.taps(layers)
        needed = {name for name in ("logits", "hidden", "query", "key", "value") if getattr(taps, name)}
        if missing := needed - shape.taps:
            raise ImpossibleError(
                f"{key} reads {', '.join(sorted(missing))} of the {role}, which that architecture does not have: "
                "choose another knowledge, such as logits"
            )
