"""What an objective does with a temperature, be it one number, one for each row, or the function that gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from kdbench.error import KdbenchError
from kdbench.masking import rows
from kdbench.term_config import module_of
from kdbench.value import number, positive

Adaptive = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Temperature = float | Tensor | Adaptive


def of_rows(temperature: Temperature, student: Tensor, teacher: Tensor, mask: Tensor | None) -> float | Tensor:
    """What scores (B, ..., C) are divided by: the number, or one for each row, (B, ..., 1)."""
    if isinstance(temperature, int | float):
        return temperature
    found = temperature if isinstance(temperature, Tensor) else temperature(student, teacher, mask)
    return found.reshape(found.shape + (1,) * (student.dim() - found.dim()))


def squared(row: float | Tensor) -> float | Tensor:
    """T^2 as a factor of a loss without the last axis, (B, ...)."""
    return row.squeeze(-1) ** 2 if isinstance(row, Tensor) else row**2


def around(base: float, hardness: Tensor, beta: float, least: float, mask: Tensor | None) -> Tensor:
    """base + beta * (mean hardness - hardness), at least `least`: the harder a row, the colder.

    Args:
        base: the temperature of a row of mean hardness.
        hardness: (B, ...), one for each row.
        beta: how far the temperatures spread.
        least: the floor.
        mask: of the scores, (B, ..., C); the mean is taken over the valid rows of the whole batch.
    """
    valid = rows(mask)
    counted = hardness if valid is None else hardness[valid.expand_as(hardness)]
    mean = counted.mean() if counted.numel() else 0.0
    return (base + beta * (mean - hardness)).clamp(min=least)


def check(key: str, value: Any) -> None:
    """Refuse what is neither a number greater than 0 nor the configuration of an adaptive temperature."""
    if not isinstance(value, Mapping):
        positive(key, value)
        return
    if "_target_" not in value:
        raise KdbenchError(f"{key}={dict(value)} is no temperature: give a number greater than 0, or choose one as "
                           f"+temperature@{key}=flsw")  # fmt: skip
    if refuse := getattr(module_of(value), "check", None):
        refuse(key, {name: option for name, option in value.items() if not name.startswith("_")})


def check_spread(key: str, options: Mapping[str, Any]) -> None:
    """Refuse what `around` cannot take."""
    positive(f"{key}.base", options.get("base", 1.0))
    number(f"{key}.beta", options.get("beta", 1.0))
    positive(f"{key}.least", options.get("least", 1.0))
