"""Every knowledge learns the same from files of its teacher's outputs as from the teacher itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from kdbench.data.batch import NO_PLACE, collate
from kdbench.data.split import Split
from kdbench.model import Model
from kdbench.module.student import teacher_taps
from kdbench.outputs import Taps
from kdbench.teacher_outputs.fill import fill
from kdbench.teacher_outputs.read import CachedOutputs
from kdbench.teacher_outputs.source import TeacherOutputs
from kdbench.terms import build_terms, parts_of

ABOUT: dict[str, Any] = {"teacher": "", "data": "", "stored_in": "f16"}


@pytest.fixture
def rows() -> Split:
    lengths = np.array([6, 2, 4, 5, 3])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(1).integers(5, 30, size=int(offsets[-1])).astype(np.int32)
    words = np.where(np.arange(len(tokens)) % 3 == 0, tokens, NO_PLACE).astype(np.int32)
    return Split(tokens, np.zeros(len(tokens), np.int8), offsets, np.array([0, 2, 1, 1, 0]), np.arange(5), words=words)


def test_what_is_kept_teaches_as_what_is_live(
    knowledge: str, cell: Callable[..., DictConfig], models: dict[str, Model], rows: Split, tmp_path: Path
) -> None:
    student, teacher = (copy.deepcopy(models[role]).float() for role in ("student", "teacher"))
    written = OmegaConf.to_container(cell(knowledge=knowledge).stages.task.terms)
    assert isinstance(written, dict)
    terms = build_terms("task", written, student.shape, [teacher.shape], seed=1)
    taps = teacher_taps(terms)
    declared = (parts_of("", term, student.shape, teacher.shape).teacher_taps for term in written.values())
    assert taps == Taps.of(stream for part in declared for stream in part)
    if taps == Taps():
        assert knowledge in ("label", "masked_words")
        return
    folders = {stream: tmp_path / f"{stream[0]}.{stream[1]}" for stream in taps}
    for folder in folders.values():
        folder.mkdir()
    live = TeacherOutputs(taps, teacher, stored_in="f16")
    fill(live, rows, folders, teacher.shape, "f16", 0, "cpu", {**ABOUT, "of": ""})
    decoder = teacher.decoder if taps.decoder_inputs else None  # which no file has
    kept = TeacherOutputs(taps, None, [CachedOutputs(folders, rows, teacher.shape, "f16", ABOUT)], decoder=decoder)
    for picked in ([0, 1, 2], [3, 4]):
        batch = collate(rows, np.array(picked), 0)
        found = []
        for source in (live, kept):
            learned = student(batch, Taps.of(stream for term in terms for stream in term.student_taps))
            loss = torch.stack([term(learned, source(batch)).mean() for term in terms]).sum()
            gradients = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
            found.append((loss, torch.cat([part.flatten() for part in gradients if part is not None])))
        (loss, gradient), (other, theirs) = found
        torch.testing.assert_close(loss, other, atol=1e-5, rtol=1e-3)
        assert float((gradient - theirs).norm()) <= 1e-3 * float(gradient.norm())
