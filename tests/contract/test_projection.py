"""Every projection joins unequal widths, or says that it maps nothing."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from kdbench.config import CONF_DIR, instantiate
from kdbench.projection.to_teacher import ToTeacher


def test_both_sides_come_out_with_one_shape(projection: str) -> None:
    build = instantiate(OmegaConf.load(CONF_DIR / "projection" / f"{projection}.yaml"))
    maps = bool(build.func.maps)
    for student_width, teacher_width in ((4, 4), (3, 5), (5, 3)) if maps else ((4, 4),):
        built = build(student_width, teacher_width, [1, 2], [2, 4])
        student = torch.randn(2, 6, student_width, requires_grad=True)
        teacher = torch.randn(2, 6, teacher_width)
        for ours, theirs in ((1, 2), (2, 4), (1, 4)):
            left, right = built.of_student(student, ours), built.of_teacher(teacher, theirs)
            assert left.shape == right.shape and left.shape[:-1] == student.shape[:-1]
            (gradient,) = torch.autograd.grad(left.sum(), student)
            assert bool(gradient.any()), "what the student learns reaches it through the projection"
        assert bool(list(built.parameters())) == maps


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_a_shared_projection_has_one_map_and_an_unshared_one_a_layer(projection: str, activation: str) -> None:
    build = instantiate(OmegaConf.load(CONF_DIR / "projection" / f"{projection}.yaml"))
    if not build.func.maps:
        return
    values = torch.randn(1, 3, 4)
    shared = build(4, 4, [1, 2, 3], [1, 2, 3], shared=True, activation=activation)
    apart = build(4, 4, [1, 2, 3], [1, 2, 3], activation=activation)
    assert len(list(apart.parameters())) == 3 * len(list(shared.parameters()))
    for side in ("of_student", "of_teacher"):
        once, again = getattr(shared, side)(values, 1), getattr(shared, side)(values, 3)
        torch.testing.assert_close(once, again)
        assert activation != "relu" or once is values or bool((once >= 0).all())
        first, last = getattr(apart, side)(values, 1), getattr(apart, side)(values, 3)
        assert first is values or not torch.allclose(first, last)


def test_a_projection_is_the_affine_map_of_its_weights() -> None:
    built = ToTeacher(3, 5, [1, 2], [2, 4], activation="tanh")
    values = torch.randn(2, 6, 3)
    linear = built.maps_of_layers.linears[1]
    expected = torch.tanh(torch.einsum("bsi,oi->bso", values, linear.weight) + linear.bias)
    torch.testing.assert_close(built.of_student(values, 2), expected)
    assert built.of_teacher(expected, 4) is expected
