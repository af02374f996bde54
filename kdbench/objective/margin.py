"""A tolerance around another objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kdbench.error import ImpossibleError, KdbenchError
from kdbench.term_config import compares as compared_by
from kdbench.term_config import module_of
from kdbench.value import number, switch

VERSION = 1


def margin(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    inner: Callable[..., Tensor],
    margin: float = 1.0,
    teacher_scale: float = 1.0,
    gated: bool = False,
) -> Tensor:
    """max(0, inner - margin): a sample that is near enough is left alone (Jafari et al. 2022, Continuation-KD).

    With `teacher_scale` phi both the target and the tolerance are scaled: max(0, inner(student, phi * teacher) - phi *
    margin). The paper's inner distance is a squared norm, `inner.reduction=sum` of mse; with its mean the same margin
    tolerates as many times more as there are classes.

    Args:
        student, teacher, mask: as the inner objective takes them.
        inner: the objective under the tolerance, (student, teacher, mask) -> (B,).
        margin: what is tolerated of a sample, 0 or more, in the inner objective's unit.
        teacher_scale: phi, a factor of the teacher's side and of the margin; scheduled, both grow together.
        gated: the authors' release: the whole inner loss where it exceeds the margin, otherwise 0. The gradient is the
            same, the value is not.

    Returns:
        (B,) losses; a sample at the margin or below it teaches nothing.
    """
    distance = inner(student, teacher if teacher_scale == 1.0 else teacher_scale * teacher, mask)
    tolerated = teacher_scale * margin
    return torch.where(distance > tolerated, distance if gated else distance - tolerated, 0.0)


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a negative margin or scale, labels scaled, and whatever the inner objective refuses."""
    inner = options.get("inner")
    if not isinstance(inner, Mapping) or "_target_" not in inner:
        raise KdbenchError(f"{key}.inner={inner} is no objective: choose one as objective@{key}.inner=mse")
    for name in ("margin", "teacher_scale"):
        number(f"{key}.{name}", options.get(name, 1.0))
        if options.get(name, 1.0) < 0:
            raise KdbenchError(f"{key}.{name}={options[name]} must be 0 or more")
    switch(f"{key}.gated", options.get("gated", False))
    if options.get("teacher_scale", 1.0) != 1.0 and compared_by(inner) == {"classes"}:
        raise ImpossibleError(
            f"{key}.teacher_scale={options['teacher_scale']} would scale the gold classes that {key}.inner compares: "
            f"set {key}.teacher_scale=1"
        )
    if refuse := getattr(module_of(inner), "check", None):
        refuse(f"{key}.inner", {name: value for name, value in inner.items() if not name.startswith("_")})
