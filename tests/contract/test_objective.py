"""Every objective: one loss a sample, finite, never negative unless it says so, blind to padding, and it teaches.
Samples mix where a module says `IN_BATCH`, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from kdbench.config import CONF_DIR, instantiate
from kdbench.term_config import compares, module_of

Option = Callable[[str, str], Any]
TEMPERATURES = sorted((CONF_DIR / "temperature").glob("*.yaml"))


def of_classes(objective: str, option: Option) -> bool:
    """Whether the teacher's side is class ids, (B,), without positions that could be padded."""
    return compares(option("objective", objective)) == {"classes"}


def inputs(classes: bool, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
    if classes:
        return student, torch.arange(shape[0]) % shape[-1]
    return student, torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def shapes(classes: bool) -> list[tuple[int, ...]]:
    return [(4, 3)] if classes else [(4, 3), (4, 5, 3), (4, 2, 5, 5)]


def test_one_finite_loss_a_sample_that_teaches(objective: str, option: Option) -> None:
    called = instantiate(option("objective", objective))
    may_be_negative = "negative" in (called.func.__doc__ or "")
    classes = of_classes(objective, option)
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        loss = called(student, teacher)
        assert loss.shape == (4,) and bool(loss.isfinite().all())
        assert may_be_negative or loss.min() >= 0
        loss.sum().backward()
        assert student.grad is not None and bool(student.grad.isfinite().all())
        assert bool(student.grad.reshape(4, -1).any(dim=1).all()), "every sample teaches"


def in_batch(node: Any) -> bool:
    """Whether the objective, or what stands inside it, declares that it mixes the samples of a batch."""
    if not isinstance(node, Mapping):
        return False
    own = "_target_" in node and getattr(module_of(node), "IN_BATCH", False)
    return bool(own) or any(in_batch(value) for value in node.values())


def assert_mixes_as_declared(node: Any) -> None:
    called, classes = instantiate(node), compares(node) == {"classes"}
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        whole = called(student, teacher)
        alone = torch.cat([called(student[row : row + 1], teacher[row : row + 1]) for row in range(4)])
        assert in_batch(node) != torch.allclose(whole, alone, atol=1e-12, rtol=1e-12)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(called(student[order], teacher[order]), whole[order], atol=1e-12, rtol=1e-12)


def test_samples_mix_where_it_is_declared_and_nowhere_else(objective: str, option: Option) -> None:
    assert_mixes_as_declared(option("objective", objective))


@pytest.mark.parametrize("temperature", TEMPERATURES, ids=lambda path: path.stem)
@pytest.mark.parametrize("scored", ["kl", "soft_cross_entropy"])
def test_an_adaptive_temperature_mixes_where_it_is_declared(temperature: Path, scored: str, option: Option) -> None:
    plain = option("objective", scored)
    adaptive = {**plain, "temperature": OmegaConf.to_container(OmegaConf.load(temperature))}
    for node in (plain, adaptive, {**option("objective", "margin"), "inner": adaptive}):
        assert in_batch(node) == (node is not plain)
        assert_mixes_as_declared(node)


def test_half_precision_loses_no_more_than_its_inputs_have_lost(objective: str, option: Option) -> None:
    """Under autocast, as a training in bf16 calls it: the loss is that of the same numbers in double precision."""
    called = instantiate(option("objective", objective))
    classes = of_classes(objective, option)
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        half = student.bfloat16(), teacher if classes else teacher.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = called(*half)
        exact = called(half[0].double(), half[1] if classes else half[1].double())
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact.float(), atol=1e-5, rtol=1e-5)


def test_the_teacher_stays_out_of_the_graph(objective: str, option: Option) -> None:
    """Where the teacher needs no gradient it gets none, and the student's is the same."""
    called = instantiate(option("objective", objective))
    classes = of_classes(objective, option)
    for shape in shapes(classes):
        student, teacher = inputs(classes, *shape)
        frozen = teacher.detach().clone()
        (expected,) = torch.autograd.grad(called(student, teacher).sum(), student)
        (found,) = torch.autograd.grad(called(student, frozen).sum(), student)
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
        assert not called(student.detach(), frozen).requires_grad


def test_huge_scores_and_rows_of_one_element_stay_finite(objective: str, option: Option) -> None:
    called = instantiate(option("objective", objective))
    classes = of_classes(objective, option)
    for factor, shape in ((1e5, (4, 3)), (1.0, (4, 1)), *(() if classes else ((1e5, (4, 5, 3)), (1.0, (4, 5, 1))))):
        student, teacher = inputs(classes, *shape)
        large = (factor * student.detach()).float().requires_grad_()
        loss = called(large, teacher if classes else (-factor * teacher.detach()).float())
        loss.sum().backward()
        assert loss.shape == (4,) and bool(loss.isfinite().all())
        assert large.grad is not None and bool(large.grad.isfinite().all())


@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_masked_tokens_change_nothing(objective: str, garbage: float, option: Option) -> None:
    """Hidden states (B, S, D) under a mask (B, S, 1), and maps (B, H, S, S) under one of token pairs."""
    if of_classes(objective, option):
        return
    called = instantiate(option("objective", objective))
    tokens = torch.tensor([5, 4, 2, 1])[:, None] > torch.arange(5)
    for shape, mask in (
        ((4, 5, 3), tokens[:, :, None]),
        ((4, 2, 5, 5), tokens[:, None, :, None] & tokens[:, None, None, :]),
    ):
        student, teacher = (side.detach() for side in inputs(False, *shape))
        noisy = torch.where(mask, student, student + garbage), torch.where(mask, teacher, teacher - garbage)
        torch.testing.assert_close(called(*noisy, mask), called(student, teacher, mask), atol=1e-10, rtol=1e-10)


def test_a_sample_without_a_valid_element_loses_nothing(objective: str, option: Option) -> None:
    if of_classes(objective, option):
        return
    called = instantiate(option("objective", objective))
    student, teacher = inputs(False, 4, 5, 3)
    mask = torch.zeros(4, 5, 1, dtype=torch.bool)
    loss = called(student, teacher, mask)
    assert loss.tolist() == [0.0] * 4
    loss.sum().backward()
    assert student.grad is not None and not bool(student.grad.any())
