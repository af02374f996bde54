"""Every form of a product is the product, in value and in gradient, and stays so over 512 factors."""

from __future__ import annotations

import functools
import itertools
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


def in_order(matrices: Tensor, back: bool = False) -> Tensor:
    """The products of all beginnings as they are written, place by place, or of all ends, from the last factor:
    (B, S, d, d)."""
    places = list(range(matrices.shape[1]))[:: -1 if back else 1]
    found = {places[0]: matrices[:, places[0]]}
    for before, place in itertools.pairwise(places):
        found[place] = torch.einsum("bij,bjk->bik", found[before], matrices[:, place])
    return torch.stack([found[place] for place in sorted(found)], dim=1)


def last(matrices: Tensor, back: bool = False) -> Tensor:
    """The whole product as it is written: (B, d, d)."""
    return in_order(matrices, back)[:, 0 if back else -1]


def gradient(function: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    matrices = matrices.clone().requires_grad_()
    values = function(matrices)
    (values * torch.arange(1, values.numel() + 1, dtype=values.dtype).view_as(values).cos()).sum().backward()
    assert matrices.grad is not None
    return matrices.grad


def towards(form: forms.Form, back: bool) -> Callable[[Tensor], Tensor]:
    return lambda matrices: form(matrices, back)


def same(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], matrices: Tensor) -> None:
    """In value and in gradient."""
    torch.testing.assert_close(ours(matrices), theirs(matrices))
    torch.testing.assert_close(gradient(ours, matrices), gradient(theirs, matrices))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("back", [False, True], ids=["ahead", "back"])
@pytest.mark.parametrize("form", [forms.loop, forms.scan])
def test_all_beginnings(form: forms.Form, back: bool, length: int) -> None:
    same(towards(form, back), towards(in_order, back), drawn(length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("back", [False, True], ids=["ahead", "back"])
@pytest.mark.parametrize("form", [forms.last_of_loop, forms.tree])
def test_the_whole_product(form: forms.Form, back: bool, length: int) -> None:
    same(towards(form, back), towards(last, back), drawn(length))


def test_a_cpu_steps_and_others_take_fewer_launches() -> None:
    assert forms.forms_on("cpu") == (forms.last_of_loop, forms.loop)
    for device in ("cuda", "mps", "xpu"):
        assert forms.forms_on(device) == (forms.tree, forms.scan)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_products_are_the_same_on_every_device(device: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the forms that the device takes, computed here; each is used by the product that it is for."""
    whole, every = forms.forms_on(device)
    asked: list[forms.Form] = []

    def noted(form: forms.Form) -> forms.Form:
        def computed(matrices: Tensor, back: bool) -> Tensor:
            asked.append(form)
            return form(matrices, back)

        return computed

    monkeypatch.setattr(forms, "forms_on", lambda _: (noted(whole), noted(every)))
    matrices = drawn(length)
    same(forms.product, last, matrices)
    same(towards(forms.product, True), towards(last, True), matrices)
    assert set(asked) == {whole}
    asked.clear()
    same(forms.prefixes, in_order, matrices)
    same(forms.suffixes, towards(in_order, True), matrices)
    assert set(asked) == {every}


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


@functools.cache
def exactly(form: forms.Form, back: bool, side: int, std: float) -> tuple[Tensor, Tensor]:
    """The value and the gradient of 512 factors in float64."""
    matrices, function = drawn(512, side, rows=2, std=std), towards(form, back)
    return function(matrices), gradient(function, matrices)


@pytest.mark.parametrize(("std", "digits"), [(0.01, 1e-5), (0.1, 1e-4)])
@pytest.mark.parametrize("back", [False, True], ids=["ahead", "back"])
@pytest.mark.parametrize(
    ("form", "reference", "side"),
    [
        (forms.last_of_loop, last, 20),
        (forms.tree, last, 20),
        (forms.tree, last, 28),
        (forms.loop, in_order, 20),
        (forms.loop, in_order, 28),
        (forms.scan, in_order, 20),
        (forms.scan, in_order, 28),
    ],
)
def test_512_factors_in_float32(
    form: forms.Form, reference: forms.Form, side: int, back: bool, std: float, digits: float
) -> None:
    """Against the sequential product in float64, from both papers' beginnings: off by less than 1e-5 of each matrix's
    norm, and than 1e-4 with the larger noise, in value and in gradient, whatever the form."""
    matrices, function = drawn(512, side, rows=2, std=std).float(), towards(form, back)
    ours = function(matrices), gradient(function, matrices)
    for found, exact in zip(ours, exactly(reference, back, side, std), strict=True):
        assert found.dtype == torch.float32 and found.isfinite().all()
        scale = exact.flatten(-2).norm(dim=-1).clamp(min=exact.norm() * 1e-12)
        assert ((found.double() - exact).flatten(-2).norm(dim=-1) / scale).max() < digits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_multiplies_in_full(dtype: torch.dtype) -> None:
    matrices = drawn(64, std=0.05).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = forms.prefixes(matrices)
        rounded = forms.loop(matrices)
    assert torch.equal(found, forms.prefixes(matrices))
    assert not torch.allclose(found, rounded), "autocast would have rounded every factor"
    assert forms.product(matrices.to(dtype)).dtype == torch.float32
