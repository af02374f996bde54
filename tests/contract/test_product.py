"""The product of the study's axes: each cell is refused in one sentence or accepted, and what is accepted runs."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

import kdbench
from kdbench.check import check
from kdbench.config import CONF_DIR, compose, instantiate, plain
from kdbench.data.batch import Batch
from kdbench.error import ImpossibleError
from kdbench.head import ClassHead
from kdbench.lr_schedule import constant
from kdbench.model import Model
from kdbench.module.student import StudentModule, teacher_taps
from kdbench.module.training import Training
from kdbench.shape import Shape
from kdbench.student.bert import bert
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.term_config import complete_term
from kdbench.terms import build_terms, parts_of

Overrides = Callable[..., list[str]]
Cell = tuple[str | None, ...]  # the options of AXES, None for the customary one, and the student
Pair = tuple[tuple[int, str | None], ...]
KEY = "stages.task.terms.transfer"
THREE_CLASSES = ["data.labels=[one,two,three]", "data.generated.classes=3"]

AXES = ("knowledge", "matching", "projection", "objective")
GIVEN = {
    "matching=explicit": ["matching.layers=[[1,2],[2,4]]"],
    "objective=margin": ["objective.margin=0.0"],  # distances between tiny models are below the customary 1
}
STUDENTS = {  # the teacher has 4 layers, width 32 and 4 heads
    "equal": {"layers": 2, "width": 32, "heads": 4},
    "narrower": {"layers": 2, "width": 16, "heads": 2},
    "wider and as deep": {"layers": 4, "width": 48, "heads": 4},
    "deeper": {"layers": 5, "width": 32, "heads": 4},
}
SIZES = {"teacher": {"layers": 4, "width": 32, "heads": 4}, **STUDENTS}
OF_GOLD_LABELS = ("label", "cross_entropy")
"""They are the term `label` of every method: beside it, on the axes, they compare the same once more."""
OF_WORDS = ("masked_words", "vocabulary_logits")
"""No classifier has what they read."""
WAY_OUT = re.compile(r"\b(choose|set|give|write|remove)\b")


def options(axis: str) -> list[str | None]:
    found: list[str | None] = [] if axis == "knowledge" else [None]
    names = {file.stem for file in (CONF_DIR / axis).glob("*.yaml")}
    return found + sorted(names - {"label"})  # which every method has a term of, so that it is refused on the axes


def given(axis: str, option: str | None) -> list[str]:
    return [] if option is None else [f"{axis}={option}", *GIVEN.get(f"{axis}={option}", [])]


def raw(overrides: Iterable[str]) -> DictConfig:
    """Composed, not completed."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return hydra_compose("train", overrides=list(overrides), return_hydra_config=True)


class Product:
    """Cells of the product: options composed once, put together as one term, built once each and judged by the check of
    terms, which is a thousand times faster than a composition and a check of the whole for each of the cells."""

    def __init__(self, overrides: list[str], classes: int) -> None:
        self.nodes = {
            (axis, option): None if option is None else plain(raw([*overrides, *given(axis, option)])[axis])
            for axis in AXES
            for option in options(axis)
        }
        self.cells = list(itertools.product(*(options(axis) for axis in AXES)))
        self.classes = classes
        self.built: dict[str, Any] = {}

    def term(self, cell: Cell) -> dict[str, Any]:
        """The completed term of a cell."""
        term = {axis: self.nodes[axis, option] for axis, option in zip(AXES, cell, strict=True)}
        return {**complete_term(KEY, term, self.classes == 1), "weight": 1.0}

    def judged(self, cell: Cell, student: str) -> str | None:
        """None where the check accepts the term, otherwise its refusal."""
        try:
            parts_of(KEY, self.term(cell), shape(student, self.classes), shape("teacher", self.classes))
        except ImpossibleError as error:
            return str(error)
        return None

    def instantiate(self, node: Any) -> Any:
        """An option built once: it holds settings alone."""
        name = json.dumps(node, sort_keys=True)
        if name not in self.built:
            self.built[name] = instantiate(node)
        return self.built[name]


def shape(model: str, classes: int) -> Shape:
    return Shape(**SIZES[model], classes=classes)


def judged_whole(overrides: list[str], cell: Cell, student: str) -> str | None:
    """The word of the whole check on the cell as the command line would give it."""
    axes = [text for axis, option in zip(AXES, cell, strict=True) for text in given(axis, option)]
    sizes = [f"student.{key}={value}" for key, value in STUDENTS[student].items()]
    try:
        check(compose([*overrides, *axes, *sizes]))
    except ImpossibleError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def common(tiny_teacher: Path) -> list[str]:
    return [
        "data=generated",
        "teacher=folder",
        f"teacher.model={tiny_teacher}",
        "student.intermediate=64",
        "student.max_positions=64",
        "method=unified",
        "initialization=random",
    ]


REGRESSION = ["data.kind=regression", "data.labels=[]", "data.metrics=[pearson]"]


def verdicts_of(product: Product, students: Iterable[str] = STUDENTS) -> dict[Cell, str | None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdbench.terms.instantiate", product.instantiate)
        return {(*cell, student): product.judged(cell, student) for cell in product.cells for student in students}


@pytest.fixture(scope="module")
def product(common: list[str]) -> Product:
    return Product([*common, *THREE_CLASSES], 3)


@pytest.fixture(scope="module")
def verdicts(product: Product) -> dict[Cell, str | None]:
    """The check's word on every cell with every student, of a classification of three classes."""
    return verdicts_of(product)


@pytest.fixture(scope="module")
def verdicts_of_a_regression(common: list[str]) -> dict[Cell, str | None]:
    return verdicts_of(Product([*common, *REGRESSION], 1), ["equal"])


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_the_short_cut_says_what_the_whole_check_says(
    kind: str,
    common: list[str],
    verdicts: dict[Cell, str | None],
    verdicts_of_a_regression: dict[Cell, str | None],
) -> None:
    known, task = (verdicts, THREE_CLASSES) if kind == "classes" else (verdicts_of_a_regression, REGRESSION)
    cells = random.Random(0).sample(sorted(known, key=str), 20)
    accepted = [cell for cell, refusal in known.items() if refusal is None]
    for cell in [*cells, *random.Random(0).sample(sorted(accepted, key=str), 10)]:
        assert judged_whole([*common, *task], cell[:-1], str(cell[-1])) == known[cell], cell


def assert_every_refusal_is_a_sentence(verdicts: dict[Cell, str | None]) -> None:
    for refusal in set(verdicts.values()) - {None}:
        assert refusal is not None
        assert "\n" not in refusal and not refusal.endswith("."), refusal
        assert not re.search(r"\. [A-Z]", refusal), refusal
        reason, _, way_out = refusal.rpartition(": ")
        assert reason and WAY_OUT.search(way_out), refusal


def test_each_cell_is_accepted_or_refused_with_a_way_out(verdicts: dict[Cell, str | None]) -> None:
    assert_every_refusal_is_a_sentence(verdicts)
    for axis, position in zip((*AXES, "student"), range(5), strict=True):
        # The method has a label term of its own, and gold classes have one objective: neither can stand twice.
        for option in {cell[position] for cell in verdicts} - {"label", "cross_entropy"}:
            here = {cell: refusal for cell, refusal in verdicts.items() if cell[position] == option}
            assert (None in here.values()) != (option in OF_GOLD_LABELS + OF_WORDS), f"{axis}={option}"


def test_each_cell_of_a_regression_is_accepted_or_refused_with_a_way_out(
    verdicts_of_a_regression: dict[Cell, str | None],
) -> None:
    assert_every_refusal_is_a_sentence(verdicts_of_a_regression)


def test_a_deeper_student_and_unequal_widths_are_refused_where_they_must_be(verdicts: dict[Cell, str | None]) -> None:
    for cell, refusal in verdicts.items():
        knowledge, matching, projection, objective, student = cell
        if objective in ("cross_entropy", "top_kl"):  # refused before any shape is looked at
            continue
        if knowledge == "hidden" and student == "narrower" and projection in (None, "identity"):
            assert refusal is not None, cell
        if knowledge == "hidden" and student == "deeper" and matching in (None, "first", "last", "uniform"):
            assert refusal is not None and "at most" in refusal, cell
        if knowledge == "attention" and projection == "to_teacher":
            assert refusal is not None, cell


def covering(cells: list[Cell]) -> list[Cell]:
    """Few cells that hold every pair of two axes' options that any cell holds: greedy, in a fixed order."""

    def pairs(cell: Cell) -> set[Pair]:
        return set(itertools.combinations(enumerate(cell), 2))

    holders: dict[Pair, list[Cell]] = {}
    for cell in cells:
        for pair in pairs(cell):
            holders.setdefault(pair, []).append(cell)
    wanted = dict.fromkeys(sorted(holders, key=lambda pair: (len(holders[pair]), str(pair))))  # the rarest first
    chosen = []
    while wanted:
        rarest = next(iter(wanted))
        candidates = holders[rarest][:: max(1, len(holders[rarest]) // 100)]
        best = max(candidates, key=lambda cell: sum(pair in wanted for pair in pairs(cell)))
        chosen.append(best)
        for pair in pairs(best):
            wanted.pop(pair, None)
    return chosen


def test_a_covering_holds_every_pair() -> None:
    cells = list(itertools.product("ab", "cd", "ef"))
    chosen = covering(cells)
    assert len(chosen) < len(cells)
    for left, right in itertools.combinations(range(3), 2):
        assert {(cell[left], cell[right]) for cell in chosen} == {(cell[left], cell[right]) for cell in cells}


@pytest.fixture(scope="module")
def sample(verdicts: dict[Cell, str | None]) -> list[Cell]:
    """Few accepted cells in which every accepted pair of options meets."""
    return covering([cell for cell, refusal in verdicts.items() if refusal is None])


def test_the_sample_holds_every_student_and_option(sample: list[Cell]) -> None:
    assert {cell[-1] for cell in sample} == set(STUDENTS)
    for axis, position in zip(AXES, range(4), strict=True):
        refused = {*OF_GOLD_LABELS, *OF_WORDS}
        assert {cell[position] for cell in sample} | refused == {*options(axis), *refused}, axis


def test_what_is_accepted_trains(
    knowledge: str, sample: list[Cell], product: Product, models: dict[str, Model], tiny: Overrides
) -> None:
    """Two steps of every cell of the sample, by knowledge; the first of them as a whole run."""
    cells = [cell for cell in sample if cell[0] == knowledge]
    assert cells or knowledge in OF_GOLD_LABELS + OF_WORDS
    for cell in cells:
        takes_two_steps(cell, product, models)
    for cell in cells[:1]:
        axes = [text for axis, option in zip(AXES, cell[:-1], strict=True) for text in given(axis, option)]
        student = [f"student.{key}={value}" for key, value in STUDENTS[str(cell[-1])].items()]
        common = ("method=unified", "initialization=random", "data.train_rows=64", "training.max_steps=2")
        record = kdbench.run(compose(tiny(*common, "training.log_every_steps=1", *THREE_CLASSES, *axes, *student)))
        terms = [entry["train/term/transfer"] for entry in record["history"] if "train/term/transfer" in entry]
        assert len(terms) == 2 and all(math.isfinite(value) for value in terms), cell


@pytest.mark.slow
def test_every_accepted_triple_trains(
    knowledge: str, verdicts: dict[Cell, str | None], product: Product, models: dict[str, Model]
) -> None:
    """Two steps of every accepted (knowledge, matching, objective), with a student of the teacher's width."""
    cells = [
        cell
        for cell, refusal in verdicts.items()
        if refusal is None and cell[0] == knowledge and cell[2] is None and cell[-1] == "equal"
    ]
    assert cells or knowledge in OF_GOLD_LABELS + OF_WORDS
    for cell in cells:
        takes_two_steps(cell, product, models)


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    """The teacher and the students, built once for all cells."""
    return {
        name: tiny_bert(**sizes)
        for name, sizes in {"teacher": {"layers": 4, "width": 32, "heads": 4}, **STUDENTS}.items()
    }


def takes_two_steps(cell: Cell, product: Product, models: dict[str, Model]) -> None:
    """Train a copy of the cell's student on its term alone; only what the term is made of is built anew."""
    name, teacher = str(cell[-1]), models["teacher"]
    terms = build_terms("task", {"transfer": product.term(cell[:-1])}, shape(name, 3), [shape("teacher", 3)], seed=1)
    outputs = [TeacherOutputs(teacher_taps(terms), teacher)]
    module = StudentModule(copy.deepcopy(models[name]), outputs, terms, sgd, constant, SETTINGS, 2)
    optimizer = module.configure_optimizers()
    before = [weight.detach().clone() for weight in module.model.parameters()]
    for batch in tiny_batches(2):
        losses = module.losses(batch)
        assert bool(losses.isfinite().all()), cell
        losses[list(module.names).index("transfer")].backward()
        optimizer.step()
        optimizer.zero_grad()
        module.done += 1
    after = list(module.model.parameters())
    assert all(bool(weight.isfinite().all()) for weight in after), cell
    assert any(not torch.equal(*sides) for sides in zip(before, after, strict=True)), cell


SETTINGS = Training(1, None, 6, 1, 1.0, "exact", True, 1, None, "last", 10, 1)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-3)


def tiny_bert(layers: int, width: int, heads: int) -> Model:
    torch.manual_seed(layers)
    return bert(layers, width, heads, 64, 50, ClassHead(("one", "two", "three")), max_positions=16)


def tiny_batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([12, 9, 7, 5, 3, 2])
    made = []
    for _ in range(count):
        mask = torch.arange(12)[None] < lengths[:, None]
        ids = torch.randint(5, 50, (6, 12), generator=generator) * mask
        labels = torch.randint(0, 3, (6,), generator=generator)
        made.append(Batch(ids, mask, torch.zeros_like(ids), labels, torch.arange(6)))
    return made
