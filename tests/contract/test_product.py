"""The product of the study's axes: each cell is refused in one sentence or accepted, and what is accepted runs."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

import kdbench
from kdbench.check import check
from kdbench.config import CONF_DIR, complete, compose
from kdbench.error import ImpossibleError

Overrides = Callable[..., list[str]]
Cell = tuple[str | None, ...]  # the options of AXES, None for the customary one, and the student

AXES = ("knowledge", "matching", "projection", "objective")
GIVEN = {"matching=explicit": ["matching.layers=[[1,2],[2,4]]"]}
STUDENTS = {  # the teacher has 4 layers, width 32 and 4 heads
    "equal": {"layers": 2, "width": 32, "heads": 4},
    "narrower": {"layers": 2, "width": 16, "heads": 2},
    "wider and as deep": {"layers": 4, "width": 48, "heads": 4},
    "deeper": {"layers": 5, "width": 32, "heads": 4},
}
OF_GOLD_LABELS = ("label", "cross_entropy")
"""They are the term `label` of every method: beside it, on the axes, they compare the same once more."""
WAY_OUT = re.compile(r"\b(choose|set|give|write|remove)\b")


def options(axis: str) -> list[str | None]:
    found: list[str | None] = [] if axis == "knowledge" else [None]
    return found + sorted(file.stem for file in (CONF_DIR / axis).glob("*.yaml"))


def given(axis: str, option: str | None) -> list[str]:
    return [] if option is None else [f"{axis}={option}", *GIVEN.get(f"{axis}={option}", [])]


def raw(overrides: Iterable[str]) -> DictConfig:
    """Composed, not completed."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return hydra_compose("train", overrides=list(overrides), return_hydra_config=True)


class Product:
    """Cells of the product, composed once an option and put together, which is 20 times faster than Hydra."""

    def __init__(self, overrides: list[str]) -> None:
        self.base = raw(overrides)
        self.nodes = {
            (axis, option): None if option is None else raw([*overrides, *given(axis, option)])[axis]
            for axis in AXES
            for option in options(axis)
        }
        self.cells = list(itertools.product(*(options(axis) for axis in AXES)))

    def complete(self, cell: Cell) -> DictConfig:
        with open_dict(self.base):
            for axis, option in zip(AXES, cell, strict=True):
                self.base[axis] = self.nodes[axis, option]
        return complete(self.base)


def judged(cfg: DictConfig, student: str) -> str | None:
    """None where the check accepts the configuration, otherwise its refusal."""
    for key, value in STUDENTS[student].items():
        OmegaConf.update(cfg, f"student.{key}", value)
    try:
        check(cfg)
    except ImpossibleError as error:
        return str(error)
    return None


def test_a_cell_put_together_equals_the_composed_one(tiny: Overrides) -> None:
    """The short cut of this file is Hydra's own composition."""
    overrides = tiny("method=unified", "initialization=random")
    product = Product(overrides)
    for cell in (("hidden", "explicit", "to_teacher", "cosine"), ("logits", None, None, None)):
        composed = compose([*overrides, *(text for pair in zip(AXES, cell, strict=True) for text in given(*pair))])
        found = product.complete(cell)
        assert found.stages == composed.stages


@pytest.fixture(scope="module")
def verdicts(tiny_teacher: Path) -> dict[Cell, str | None]:
    """The check's word on every cell with every student, of a classification."""
    return _verdicts(tiny_teacher)


def _verdicts(teacher: Path, *more: str, students: Iterable[str] = STUDENTS) -> dict[Cell, str | None]:
    product = Product(
        [
            "data=generated",
            "teacher=folder",
            f"teacher.model={teacher}",
            "student.intermediate=64",
            "student.max_positions=64",
            "method=unified",
            "initialization=random",
            *more,
        ]
    )
    found: dict[Cell, str | None] = {}
    for cell in product.cells:
        cfg = product.complete(cell)
        for student in students:
            found[(*cell, student)] = judged(cfg, student)
    return found


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
            assert (None in here.values()) != (option in OF_GOLD_LABELS), f"{axis}={option}"


def test_each_cell_of_a_regression_is_accepted_or_refused_with_a_way_out(tiny_teacher: Path) -> None:
    assert_every_refusal_is_a_sentence(
        _verdicts(tiny_teacher, "data.kind=regression", "data.labels=[]", "data.metrics=[pearson]", students=["equal"])
    )


def test_a_deeper_student_and_unequal_widths_are_refused_where_they_must_be(verdicts: dict[Cell, str | None]) -> None:
    for cell, refusal in verdicts.items():
        knowledge, matching, projection, objective, student = cell
        if objective == "cross_entropy":  # refused before any shape is looked at
            continue
        if knowledge == "hidden" and student == "narrower" and projection != "to_teacher":
            assert refusal is not None and "equal widths" in refusal, cell
        if knowledge == "hidden" and student == "deeper" and matching in (None, "first", "last", "uniform"):
            assert refusal is not None and "at most" in refusal, cell
        if knowledge == "attention" and projection == "to_teacher":
            assert refusal is not None, cell


def covering(cells: list[Cell]) -> list[Cell]:
    """Few cells that hold every pair of two axes' options that any cell holds: greedy, in a fixed order."""

    def pairs(cell: Cell) -> set[tuple[tuple[int, str | None], ...]]:
        return set(itertools.combinations(enumerate(cell), 2))

    wanted = set().union(*(pairs(cell) for cell in cells))
    chosen = []
    while wanted:
        best = max(cells, key=lambda cell: len(pairs(cell) & wanted))
        chosen.append(best)
        wanted -= pairs(best)
    return chosen


def test_a_covering_holds_every_pair() -> None:
    cells = list(itertools.product("ab", "cd", "ef"))
    chosen = covering(cells)
    assert len(chosen) < len(cells)
    for left, right in itertools.combinations(range(3), 2):
        assert {(cell[left], cell[right]) for cell in chosen} == {(cell[left], cell[right]) for cell in cells}


def test_what_is_accepted_trains(verdicts: dict[Cell, str | None], tiny: Overrides) -> None:
    """A sample in which every accepted pair of options meets, two steps each."""
    accepted = [cell for cell, refusal in verdicts.items() if refusal is None]
    sample = covering(accepted)
    assert {cell[-1] for cell in sample} == set(STUDENTS)
    for cell in sample:
        axes = [text for axis, option in zip(AXES, cell[:-1], strict=True) for text in given(axis, option)]
        student = [f"student.{key}={value}" for key, value in STUDENTS[str(cell[-1])].items()]
        record = kdbench.run(
            compose(
                tiny(
                    "method=unified",
                    "initialization=random",
                    "data.train_rows=64",
                    "training.max_steps=2",
                    "training.log_every_steps=1",
                    *axes,
                    *student,
                )
            )
        )
        terms = [entry["train/term/transfer"] for entry in record["history"] if "train/term/transfer" in entry]
        assert terms and all(math.isfinite(value) and value >= 0 for value in terms), cell
