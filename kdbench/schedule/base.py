"""What the ramps share: how much of one is done, and what makes none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.error import KdbenchError
from kdbench.value import number, share


def done(progress: float, begin: float, until: float) -> float:
    """The share of the way from `begin` to `until` that lies behind, in [0, 1]; where they are equal, a jump after."""
    if progress <= begin:
        return 0.0
    return 1.0 if progress >= until else (progress - begin) / (until - begin)


def check_ramp(key: str, options: Mapping[str, Any]) -> None:
    """Refuse values that are no numbers, and a ramp that ends before it begins."""
    for name in ("start", "end"):
        number(f"{key}.{name}", options.get(name, 0.0))
    begin, until = options.get("begin", 0.0), options.get("until", 1.0)
    share(f"{key}.begin", begin)
    share(f"{key}.until", until)
    if begin > until:
        raise KdbenchError(
            f"{key}.begin={begin} lies after {key}.until={until}: give shares of the stage, the smaller one to begin"
        )
