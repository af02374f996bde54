"""One value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.value import number

VERSION = 1


def constant(progress: float, value: float = 1.0) -> float:
    """The same value throughout.

    Args:
        progress: in [0, 1]; unused.
        value: any number.
    """
    del progress
    return value


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse what is no number."""
    number(f"{key}.value", options.get("value", 1.0))
