"""The tolerance around another objective: its value, its gate, and whose declarations it shares."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.check import check as check_whole
from kdbench.config import compose
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.objective.cross_entropy import cross_entropy
from kdbench.objective.kl import kl
from kdbench.objective.margin import check, margin
from kdbench.objective.mse import mse
from kdbench.term_config import compares

INNER = {"_target_": "kdbench.objective.kl.kl", "_partial_": True, "temperature": 1.0}


def tensors(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_it_is_the_papers_hinge_sample_by_sample() -> None:
    """max(0, ||z_s - phi z_t||^2 - m phi), with the squared norm of the paper."""
    student, teacher = tensors(6, 4)
    for phi, tolerated in ((1.0, 1.0), (0.4, 2.0), (0.1, 40.0)):
        found = margin(
            student, teacher, inner=partial(mse, reduction="sum"), margin=tolerated, teacher_scale=phi
        ).tolist()
        for row in range(6):
            norm = sum((s - phi * t) ** 2 for s, t in zip(student[row].tolist(), teacher[row].tolist(), strict=True))
            assert found[row] == pytest.approx(max(0.0, norm - tolerated * phi), abs=1e-6)


def test_a_margin_of_0_is_the_inner_objective() -> None:
    student, teacher = tensors(4, 3, 5)
    mask = torch.tensor([[True, True, False]] * 4)[:, :, None]
    torch.testing.assert_close(margin(student, teacher, mask, inner=kl, margin=0.0), kl(student, teacher, mask))


def test_the_gated_form_has_another_value_and_one_gradient() -> None:
    student, teacher = tensors(8, 4)
    student.requires_grad_()
    whole = mse(student, teacher)
    tolerated = float(whole.detach().median())
    hinge, gated = (margin(student, teacher, inner=mse, margin=tolerated, gated=gate) for gate in (False, True))
    above = whole > tolerated
    assert 0 < int(above.sum()) < 8
    torch.testing.assert_close(hinge, torch.where(above, whole - tolerated, 0.0))
    torch.testing.assert_close(gated, torch.where(above, whole, 0.0))
    left, right = (torch.autograd.grad(loss.sum(), student, retain_graph=True)[0] for loss in (hinge, gated))
    torch.testing.assert_close(left, right, atol=1e-12, rtol=0)
    assert not left[~above].any() and bool(left[above].any(dim=1).all())


def test_gold_classes_go_through_unscaled() -> None:
    student, _ = tensors(3, 4)
    labels = torch.tensor([2, -1, 0])
    expected = (cross_entropy(student, labels) - 0.5).clamp(min=0.0)
    torch.testing.assert_close(margin(student, labels, inner=cross_entropy, margin=0.5), expected)


@pytest.mark.parametrize("inner", ["mse", "kl", "cosine", "cross_entropy", "pearson", "contrastive"])
def test_it_compares_what_its_inner_objective_does(inner: str) -> None:
    node = {"_target_": f"kdbench.objective.{inner}.{inner}"}
    around = {"_target_": "kdbench.objective.margin.margin", "inner": node}
    assert compares(around) == compares(node) == compares({**around, "inner": around})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"margin": -1.0}, r"^o\.margin=-1\.0 must be 0 or more$"),
        ({"margin": "wide"}, r"^o\.margin=wide must be a number$"),
        ({"teacher_scale": -0.5}, r"^o\.teacher_scale=-0\.5 must be 0 or more$"),
        ({"gated": 1}, r"^o\.gated=1 must be true or false$"),
        ({"inner": None}, r"^o\.inner=None is no objective: choose one as objective@o\.inner=mse$"),
        ({"inner": {**INNER, "temperature": 0.0}}, r"^o\.inner\.temperature=0\.0 must be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], sentence: str) -> None:
    whole = {"inner": INNER, "margin": 1.0, "teacher_scale": 1.0, "gated": False}
    check("o", whole)
    with pytest.raises(KdbenchError, match=sentence):
        check("o", {**whole, **options})


def test_scaled_gold_classes_are_refused() -> None:
    inner = {"_target_": "kdbench.objective.cross_entropy.cross_entropy", "label_smoothing": 0.0}
    check("o", {"inner": inner, "teacher_scale": 1.0})
    with pytest.raises(ImpossibleError, match=r"^o\.teacher_scale=0\.5 would scale the gold classes"):
        check("o", {"inner": inner, "teacher_scale": 0.5})


def test_the_command_line_chooses_the_inner_objective(tiny: Any) -> None:
    overrides = ["method=unified", "knowledge=logits", "objective=margin"]
    cfg = compose(tiny(*overrides, "objective@objective.inner=kl", "objective.inner.temperature=2"))
    objective = cfg.stages.task.terms.transfer.objective
    assert objective.inner._target_ == "kdbench.objective.kl.kl" and objective.inner.temperature == 2
    check_whole(cfg)
    with pytest.raises(ImpossibleError, match="objective=margin cannot compare the logits"):
        check_whole(compose(tiny(*overrides, "objective@objective.inner=cross_entropy")))
    with pytest.raises(KdbenchError, match=r"objective\.inner\.temperature=-1 must be"):
        check_whole(compose(tiny(*overrides, "objective@objective.inner=kl", "objective.inner.temperature=-1")))
