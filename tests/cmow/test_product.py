"""Every form of a product is the product, in value and in gradient, and stays so over 512 factors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdbench.cmow import product as forms

LENGTHS = (1, 2, 3, 7, 8, 9, 16, 31)


def drawn(length: int, side: int = 4, rows: int = 3, std: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    noise = torch.randn(rows, length, side, side, generator=generator, dtype=torch.float64)
    return torch.eye(side, dtype=torch.float64) + std * noise


def in_order(matrices: Tensor) -> Tensor:
    """The products of all beginnings as they are written: place by place, (B, S, d, d)."""
    found = [matrices[:, 0]]
    for place in range(1, matrices.shape[1]):
        found.append(torch.einsum("bij,bjk->bik", found[-1], matrices[:, place]))
    return torch.stack(found, dim=1)


def gradient(function: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    matrices = matrices.clone().requires_grad_()
    values = function(matrices)
    (values * torch.arange(1, values.numel() + 1, dtype=values.dtype).view_as(values).cos()).sum().backward()
    assert matrices.grad is not None
    return matrices.grad


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", [forms.loop, forms.scan, forms.prefixes])
def test_all_beginnings(form: Callable[[Tensor], Tensor], length: int) -> None:
    matrices = drawn(length)
    torch.testing.assert_close(form(matrices), in_order(matrices))
    torch.testing.assert_close(gradient(form, matrices), gradient(in_order, matrices))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", [forms.last_of_loop, forms.tree, forms.product])
def test_the_whole_product(form: Callable[[Tensor], Tensor], length: int) -> None:
    matrices = drawn(length)
    torch.testing.assert_close(form(matrices), in_order(matrices)[:, -1])
    expected = gradient(lambda values: in_order(values)[:, -1], matrices)
    torch.testing.assert_close(gradient(form, matrices), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_from_the_last_one_back(length: int) -> None:
    """G_S = E_S and G_i = G_{i+1} E_i."""
    matrices = drawn(length)
    found = forms.suffixes(matrices)
    torch.testing.assert_close(found[:, -1], matrices[:, -1])
    for place in range(length - 1):
        torch.testing.assert_close(found[:, place], found[:, place + 1] @ matrices[:, place])


def test_it_does_not_matter_where_a_sequence_is_cut() -> None:
    matrices = drawn(9)
    for cut in range(1, 9):
        parts = forms.product(matrices[:, :cut]) @ forms.product(matrices[:, cut:])
        torch.testing.assert_close(parts, forms.product(matrices))


def test_the_transposed_product_backwards() -> None:
    matrices = drawn(6)
    backwards = forms.product(matrices.transpose(2, 3).flip(1))
    torch.testing.assert_close(backwards, forms.product(matrices).transpose(1, 2))


def test_scalars_add_their_logarithms() -> None:
    matrices = drawn(20, side=1).abs() + 0.1
    torch.testing.assert_close(forms.prefixes(matrices).log(), matrices.log().cumsum(dim=1))


@pytest.mark.parametrize(("std", "digits"), [(0.01, 1e-5), (0.1, 1e-4)])
@pytest.mark.parametrize(("whole", "side"), [(forms.prefixes, 20), (forms.prefixes, 28), (forms.scan, 20)])
def test_512_factors_in_float32(whole: Callable[[Tensor], Tensor], side: int, std: float, digits: float) -> None:
    """Against the sequential product in float64, from both papers' beginnings."""
    matrices = drawn(512, side, rows=2, std=std)
    exact, expected = in_order(matrices), gradient(in_order, matrices)
    found, learned = whole(matrices.float()), gradient(whole, matrices.float())
    for ours, theirs in ((found, exact), (learned, expected)):
        assert ours.isfinite().all()
        scale = theirs.flatten(2).norm(dim=2).clamp(min=theirs.norm() * 1e-12)
        error = (ours.double() - theirs).flatten(2).norm(dim=2) / scale
        assert error.max() < digits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_multiplies_in_full(dtype: torch.dtype) -> None:
    matrices = drawn(64, std=0.05).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = forms.prefixes(matrices)
        rounded = forms.loop(matrices)
    assert torch.equal(found, forms.prefixes(matrices))
    assert not torch.allclose(found, rounded), "autocast would have rounded every factor"
    assert forms.product(matrices.to(dtype)).dtype == torch.float32
