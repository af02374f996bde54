"""The profile of a step: its parts, what is written nowhere, and what a user reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import kdbench
from kdbench.error import KdbenchError
from kdbench.pipeline import prepare
from kdbench.planning import plan_run
from kdbench.profile import PARTS, Profile, profile
from kdbench.profile_command import app, lines
from kdbench.store import Store

Overrides = Callable[..., list[str]]


def profiled(overrides: list[str], steps: int = 3, stage: str = "task") -> Profile:
    cfg = kdbench.compose(overrides)
    store = Store(cfg.paths.store)
    return profile(prepare(cfg, plan_run(cfg, store), store), stage, steps)


def test_a_step_has_its_parts_and_leaves_nothing(tiny: Overrides, tmp_path: Path) -> None:
    found = profiled(tiny("knowledge=hidden", "training.epochs=2"))
    assert tuple(found.seconds) == PARTS and all(seconds > 0 for seconds in found.seconds.values())
    assert found.files is not None and found.files > 0 and found.padding >= 1.0
    assert found.expected is not None and all(seconds > 0 for seconds in found.expected)
    assert found.steps == 2 * found.steps / found.epochs and found.choice is not None and "hidden 0 2 4" in found.choice
    assert {artefact.kind for artefact in Store(tmp_path / "store").artefacts()} == {"data", "teacher"}


def test_a_stage_of_words_is_that_of_its_corpus(tiny: Overrides) -> None:
    corpus = ["corpus=generated", "teacher.language.train=true", "corpus.train_rows=40", "training.batch_size=8"]
    more = ["method=glmd", "vocabulary.multiple=8", "vocabulary.reserved=[river,engine]"]
    found = profiled(tiny(*corpus, *more), stage="general")
    assert found.steps / found.epochs == 5 and found.files is not None and found.files > 0


def test_a_stage_of_labels_has_no_teacher_to_profile(tiny: Overrides) -> None:
    found = profiled(tiny("method=label"))
    assert found.files is None and found.expected is None and found.choice is None
    assert lines("task", found, 8)[-1] == "no term reads a teacher"


def test_hours_follow_the_cost_model() -> None:
    """N E t against t + N E (io + s), over steps of 3600 s, so that hours are steps (performance's cost model)."""
    seconds = {"data": 0.0, "teacher": 3 * 3600.0, "student": 3600.0, "losses": 0.0, "backward": 0.0, "optimizer": 0.0}
    found = Profile(seconds, 360.0, 1.0, (1.0, 1.0), steps=20, epochs=2.0, choice="")
    live, shared = found.hours(5)
    assert live == pytest.approx(5 * 20 * 4) and shared == pytest.approx(10 * 3 + 5 * 20 * 1.1)
    assert "5 such runs of 20 steps: 400.00 h with a live teacher, 140.00 h from files (2.9 times as fast)" in lines(
        "task", found, 5
    )


def test_the_command_prints_shares_that_make_a_whole(tiny: Overrides) -> None:
    printed = CliRunner().invoke(app, ["--steps", "2", *tiny("knowledge=hidden")])
    assert printed.exit_code == 0, printed.output
    shares = [float(line.split()[-1].rstrip("%")) for line in printed.output.splitlines() if line.endswith("%")]
    assert len(shares) == len(PARTS) and sum(shares) == pytest.approx(100, abs=0.5)
    assert "the plan reckons with" in printed.output and "8 such runs" in printed.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage", "second"], "--stage second is none of the method's stages: choose one of task"),
        (["knowledge=hiden"], "hiden"),
        (["teacher.outputs=never"], "teacher.outputs=never"),
    ],
)
def test_a_mistake_is_one_sentence(tiny: Overrides, arguments: list[str], words: str) -> None:
    found = CliRunner().invoke(app, [*tiny(), *arguments])
    assert isinstance(found.exception, KdbenchError) and words in str(found.exception)
    assert "\n" not in str(found.exception)
