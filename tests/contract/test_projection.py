"""Every projection joins unequal widths, or says that it maps nothing."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR, instantiate


def test_both_sides_come_out_with_one_shape(projection: str) -> None:
    build = instantiate(OmegaConf.load(CONF_DIR / "projection" / f"{projection}.yaml"))
    maps = bool(build.func.maps)
    for student_width, teacher_width in ((4, 4), (3, 5), (5, 3)) if maps else ((4, 4),):
        built = build(student_width, teacher_width, 2)
        student = torch.randn(2, 6, student_width, requires_grad=True)
        teacher = torch.randn(2, 6, teacher_width)
        for pair in range(2):
            left, right = built(student, teacher, pair)
            assert left.shape == right.shape and left.shape[:-1] == student.shape[:-1]
            (gradient,) = torch.autograd.grad(left.sum(), student)
            assert bool(gradient.any())
        assert bool(list(built.parameters())) == maps
