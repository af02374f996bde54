"""From a stage's configuration to its terms, refusing on the way what cannot be compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

from kdbench.config import instantiate
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.knowledge.base import Knowledge, Objective
from kdbench.matching.base import Matching, Pairs, refuse_unmixable
from kdbench.outputs import Taps
from kdbench.progress import START
from kdbench.projection.base import Projection
from kdbench.seeds import derive, drawing
from kdbench.shape import Shape
from kdbench.team_term import TeamTerm
from kdbench.term import WITHOUT_LAYERS, Schedule, Term
from kdbench.term_config import compares, innermost, module_of
from kdbench.value import number

TAPS = tuple(each.name for each in fields(Taps))
SAMPLED_PROGRESS = tuple(place / 20 for place in range(21))
"""Where a schedule is tried before any work: enough to see a wrong beginning, end or sign."""


@dataclass(frozen=True)
class Parts:
    """The built options of one term, and the layer pairs that it compares; without layers it has but two of them."""

    knowledge: Knowledge
    objective: Objective
    pairs: Pairs
    matching: Matching | None
    projection: Callable[..., Projection] | None
    schedules: dict[str, Schedule]

    @property
    def teacher_taps(self) -> Taps:
        """What the term reads of the teacher; nothing where the labels stand in its place."""
        return Taps() if self.knowledge.from_labels else self.knowledge.target_taps({pair[1] for pair in self.pairs})


def parts_of(key: str, term: Mapping[str, Any], student: Shape, teacher: Shape) -> Parts:
    """Build a term's options and refuse a comparison that cannot work.

    Args:
        key: the term's place in the configuration, named in a refusal.
        term: completed by `kdbench.config.complete`.
        student, teacher: the two shapes.

    Raises:
        ImpossibleError, KdbenchError: one sentence with the way out.
    """
    knowledge: Knowledge = instantiate(term["knowledge"])
    objective: Objective = instantiate(term["objective"])
    schedules = _schedules(key, term)
    _compared(key, knowledge, term, student)
    if not knowledge.layered:
        _hands_out(key, knowledge, WITHOUT_LAYERS, student, teacher)
        knowledge.check(student, teacher, False)
        return Parts(knowledge, objective, WITHOUT_LAYERS, None, None, schedules)
    matching: Matching = instantiate(term["matching"])
    projection: Callable[..., Projection] = instantiate(term["projection"])
    pairs = knowledge.pairs(matching.pairs(student.layers, teacher.layers))
    _hands_out(key, knowledge, pairs, student, teacher)
    _layers(key, knowledge, matching, pairs)
    maps = bool(getattr(getattr(projection, "func", projection), "maps", True))
    knowledge.check(student, teacher, maps)
    if matching.mixes:
        ours, theirs = (
            shape.classes if knowledge.kind == "logits" else knowledge.width(shape, 1) for shape in (student, teacher)
        )
        refuse_unmixable(key, ours, theirs, maps)
    return Parts(knowledge, objective, pairs, matching, projection, schedules)


def mixes_samples(term: Mapping[str, Any]) -> bool:
    """Whether a sample's loss depends on the others of its batch, so that micro-batches would change it."""
    objective = innermost(term["objective"])
    nodes = [objective, *(node for node in objective.values() if isinstance(node, Mapping))]
    declared = any(getattr(module_of(node), "IN_BATCH", False) for node in nodes if "_target_" in node)
    return declared or bool(instantiate(term["knowledge"]).in_batch)


def build_terms(
    stage: str,
    terms: Mapping[str, Any],
    student: Shape,
    teachers: Sequence[Shape],
    seed: int,
    fused: bool = True,
    team: bool = False,
) -> list[Term | TeamTerm]:
    """The terms of a stage; projections and drawn matchings have generators of their own.

    Args:
        stage: its key.
        terms: its node, completed.
        student: shape.
        teachers: the shapes of those who teach; without a team, one.
        seed: of the run.
        fused: see `Term`.
        team: whether they are a team, which makes a `TeamTerm` of every term that learns from more than labels.
    """
    made: list[Term | TeamTerm] = []
    for name, term in terms.items():
        # The first teacher draws as if it were alone, so that a team of one teaches as a teacher without a team.
        purposes = [(stage, name), *((stage, name, str(place)) for place in range(1, len(teachers)))]
        forms = [
            _build(purpose, term, student, teacher, seed, fused)
            for purpose, teacher in zip(purposes, teachers, strict=True)
        ]
        made.append(TeamTerm(forms) if team and not forms[0].knowledge.from_labels else forms[0])
    return made


def _build(
    purpose: tuple[str, ...], term: Mapping[str, Any], student: Shape, teacher: Shape, seed: int, fused: bool
) -> Term:
    stage, name, *_ = purpose
    parts = parts_of(f"stages.{stage}.terms.{name}", term, student, teacher)
    weight = float(term["weight"])
    if parts.matching is None or parts.projection is None:
        return Term(name, parts.knowledge, parts.objective, weight=weight, schedules=parts.schedules, fused=fused)
    pairing = parts.matching.pairing(parts.pairs, term["reduction"], derive(seed, "matching", *purpose))
    joined = len(pairing.drawn(START))
    layers = [WITHOUT_LAYERS[0]] if parts.knowledge.joint else parts.pairs
    # A knowledge without a width to map (attention maps) meets only `identity`, which needs no sizes.
    widths = (parts.knowledge.width(student, joined) or 0, parts.knowledge.width(teacher, joined) or 0)
    with drawing(seed, "projection", *purpose):
        projection = parts.projection(*widths, *(list(dict.fromkeys(side)) for side in zip(*layers, strict=True)))
    return Term(name, parts.knowledge, parts.objective, pairing, projection, weight, parts.schedules, fused)


def _compared(key: str, knowledge: Knowledge, term: Mapping[str, Any], student: Shape) -> None:
    """Refuse an objective that cannot compare what the knowledge reads, and its options out of range."""
    objective = term["objective"]
    name, read = str(objective["_target_"]).rpartition(".")[2], str(term["knowledge"]["_target_"]).split(".")[-2]
    single = student.classes == 1 and not knowledge.of_words
    kind = "values" if single and knowledge.kind in ("classes", "logits") else knowledge.kind
    if kind not in compares(objective):
        raise ImpossibleError(
            f"{key}: objective={name} cannot compare the {kind} that "
            f"knowledge={read} reads: choose objective="
            f"{'cross_entropy' if kind == 'classes' else 'mse'}, or none for the customary one"
        )
    module = module_of(objective)
    least = getattr(module_of(innermost(objective)), "LEAST_CLASSES", 1)
    if knowledge.of_words and mixes_samples(term):
        raise ImpossibleError(
            f"{key}: objective={name} compares the rows of a batch with each other, but a row of "
            f"knowledge={read} is one token: choose objective=kl or objective=mse"
        )
    if kind == "logits" and not knowledge.of_words and not student.spans and student.classes < least:
        raise ImpossibleError(
            f"{key}: objective={name} is degenerate for {student.classes} classes (it needs {least}): choose "
            "objective=kl or objective=mse"
        )
    _options(key, module, objective, term.get("schedule", {}))


def _options(key: str, module: ModuleType, objective: Mapping[str, Any], schedule: Mapping[str, Any]) -> None:
    """Let the objective's own module refuse options out of range, at every value that a schedule gives them."""
    check = getattr(module, "check", None)
    plain = {name: value for name, value in objective.items() if not name.startswith("_")}
    function = str(objective["_target_"]).rpartition(".")[2]
    if unknown := set(plain) - set(inspect.signature(getattr(module, function)).parameters):
        raise ImpossibleError(
            f"{key}.objective.{min(unknown)} is set, by the command line or by the method, but objective={function} "
            f"has no such option: remove it with ~{key}.objective.{min(unknown)}"
        )
    if check is not None:
        check(f"{key}.objective", plain)
    for name, node in schedule.items():
        if name == "weight":
            continue
        if name not in plain:
            raise KdbenchError(
                f"{key}.schedule.{name} names no option of the objective, which has {', '.join(plain) or 'none'}: "
                "schedule the weight or one of those"
            )
        if check is None:
            continue
        scheduled: Schedule = instantiate(node)
        for progress in SAMPLED_PROGRESS:
            check(f"{key}.schedule.{name}: {key}.objective", {**plain, name: scheduled(progress)})


def _schedules(key: str, term: Mapping[str, Any]) -> dict[str, Schedule]:
    schedules: dict[str, Schedule] = {}
    for name, node in term.get("schedule", {}).items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise KdbenchError(f"{key}.schedule.{name}={node} is no schedule: choose one as "
                               f"+schedule@{key}.schedule.{name}=linear")  # fmt: skip
        if isinstance(term["objective"].get(name), Mapping):
            raise KdbenchError(f"{key}.schedule.{name} would take the place of {key}.objective.{name}, which is no "
                               "number: leave one of the two out")  # fmt: skip
        if check := getattr(module_of(node), "check", None):
            check(f"{key}.schedule.{name}", {option: node[option] for option in node if not option.startswith("_")})
        schedules[name] = instantiate(node)
        for progress in SAMPLED_PROGRESS:
            number(f"{key}.schedule.{name} at progress {progress:g}", schedules[name](progress))
            if name == "weight" and schedules[name](progress) < 0.0:
                raise KdbenchError(f"{key}.schedule.weight becomes {schedules[name](progress)} at progress "
                                   f"{progress:g}: a weight must be 0 or more")  # fmt: skip
    return schedules


def _layers(key: str, knowledge: Knowledge, matching: Matching, pairs: Pairs) -> None:
    """Refuse layers that the knowledge cannot read, and a matching that cannot pair what it reads."""
    if any(0 in pair for pair in pairs) and not knowledge.taps({0}).states - knowledge.taps({0}).lens:
        raise ImpossibleError(
            f"{key}.matching pairs layer 0, the embedding output, which only a knowledge of hidden states reads: "
            "leave it out"
        )
    if knowledge.joint and not matching.fixed:
        raise ImpossibleError(
            f"{key}: a knowledge that reads all its layers as one has no pairs for matching="
            f"{type(matching).__name__} to weigh or mix: choose matching=uniform"
        )


def _hands_out(key: str, knowledge: Knowledge, pairs: Pairs, student: Shape, teacher: Shape) -> None:
    """Refuse a knowledge that one of the two architectures cannot give."""
    for role, shape, taps in (
        ("student", student, knowledge.taps({pair[0] for pair in pairs})),
        ("teacher", teacher, knowledge.target_taps({pair[1] for pair in pairs})),
    ):
        needed = {name for name in TAPS if getattr(taps, name)}
        if missing := needed - shape.taps:
            raise ImpossibleError(
                f"{key} reads {', '.join(sorted(missing))} of the {role}, which that architecture does not have: "
                "choose another knowledge, such as logits"
            )
