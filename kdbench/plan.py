"""What a run needs, by signature, and what of it is in the store already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from kdbench.check import Checked, CheckedTeacher
from kdbench.shape import Shape


@dataclass(frozen=True)
class Step:
    """One artefact that a run needs."""

    kind: str
    signature: str
    label: str
    done: bool


@dataclass(frozen=True)
class TeacherPlan:
    """The artefacts of a teacher in the order of their making, and what the check found out.

    The teacher itself is none of them where nobody asks for it: of a corpus that a student learns from without one.

    Attributes:
        steps, checked: see above.
        data_root: where the data lies.
        language: the corpus of a run beside its own data, and the language model there; of a teacher, the one that it
            begins as. None where there is none.
    """

    steps: tuple[Step, ...]
    checked: CheckedTeacher
    data_root: Path
    language: Language | None = None

    @property
    def signature(self) -> str:
        return self.steps[-1].signature

    @property
    def finished(self) -> bool:
        """Whether the last artefact is in the store."""
        return self.steps[-1].done

    @property
    def data(self) -> str:
        """The signature of the tokenised data."""
        return self.signatures("data")[0]

    @property
    def teacher(self) -> str | None:
        """The signature of the teacher."""
        return next(iter(self.signatures("teacher")), None)

    @property
    def begins_with(self) -> tuple[Step, ...]:
        """The steps of the corpus and its language model."""
        return () if self.language is None else self.language.plan.steps

    def signatures(self, kind: str) -> list[str]:
        """The signatures of one kind, in order."""
        return [step.signature for step in self.steps if step.kind == kind]


@dataclass(frozen=True)
class Teacher:
    """One who teaches a run.

    Attributes:
        name: in its team; `kdbench.teaching.OWN` for the one teacher of a stage without a team.
        kind: of its artefact, `teacher` or `stage`.
        signature: of its artefact.
        label: for a reader.
        shape: of the model.
        cfg: the configuration that it comes from.
        plan: how it is made; None for the run's one teacher, which the run's own plan makes.
    """

    name: str
    kind: Literal["teacher", "stage"]
    signature: str
    label: str
    shape: Shape
    cfg: DictConfig
    plan: TeacherPlan | None = None


@dataclass(frozen=True)
class Pilot:
    """A run in which one member of a team teaches alone, whose score ranks it."""

    name: str
    cfg: DictConfig
    plan: RunPlan


@dataclass(frozen=True)
class Language:
    """A corpus and the language model that teaches there: `plan` is how they are made, from the configuration `cfg`."""

    cfg: DictConfig
    plan: TeacherPlan


@dataclass(frozen=True)
class RunPlan(TeacherPlan):
    """A run's artefacts, its own record last, and what has to be there before.

    Attributes:
        teachers: those who teach on the run's own data.
        pilots: of a team.
        on_corpus: the stages that learn from a corpus, each with those who teach it.
        vocabulary: of a student with fewer words than its tokenizer.
    """

    checked: Checked
    teachers: tuple[Teacher, ...] = ()
    pilots: tuple[Pilot, ...] = ()
    on_corpus: Mapping[str, tuple[Teacher, ...]] = field(default_factory=dict)
    vocabulary: Step | None = None

    def taught_by(self, stage: str) -> tuple[Teacher, ...]:
        """Those who teach a stage."""
        return self.on_corpus.get(stage, self.teachers)

    def side(self, stage: str) -> TeacherPlan:
        """The plan of the data that a stage learns from, and of the teacher of that data."""
        return self.language.plan if self.language is not None and stage in self.on_corpus else self

    def everything(self) -> tuple[Step, ...]:
        """The steps of all that the run needs, each once, its own last."""
        members = [teacher.plan for teacher in self.teachers if teacher.plan is not None]
        steps = [step for plan in (*members, *(pilot.plan for pilot in self.pilots)) for step in steps_of(plan)]
        vocabulary = [] if self.vocabulary is None else [self.vocabulary]
        return tuple(dict.fromkeys([*self.begins_with, *vocabulary, *steps, *self.steps]))

    @property
    def team(self) -> list[str]:
        """The signatures of what a team's members and pilots are, and of the runs that they come from."""
        plans = [teacher.plan for teacher in self.teachers if teacher.plan is not None]
        ends = [plan.signature for plan in (*plans, *(pilot.plan for pilot in self.pilots))]
        own = [teacher.signature for teacher in self.teachers if teacher.plan is not None]
        return list(dict.fromkeys([*own, *ends]))

    @property
    def built_from(self) -> list[str]:
        """The signatures of the artefacts that the run was made of."""
        vocabulary = [] if self.vocabulary is None else [self.vocabulary]
        steps = [*self.begins_with, *vocabulary, *self.steps[:-1]]
        return list(dict.fromkeys([*(step.signature for step in steps), *self.team]))


def steps_of(plan: TeacherPlan) -> tuple[Step, ...]:
    """All steps behind a plan; of what is finished nothing else is needed."""
    if plan.finished:
        return plan.steps
    return plan.everything() if isinstance(plan, RunPlan) else (*plan.begins_with, *plan.steps)
