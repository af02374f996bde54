"""A straight ramp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.error import KdbenchError
from kdbench.schedule import base
from kdbench.value import number

VERSION = 1


def linear(
    progress: float,
    start: float = 1.0,
    end: float = 0.0,
    begin: float = 0.0,
    until: float = 1.0,
    after: float | None = None,
) -> float:
    """A straight line from `start` to `end`, level before it, and after it at `end` or at `after`.

    Jafari et al. 2022 (Continuation-KD) raise the weight of the gold labels as progress / 1.333 and set it to 1 after
    66.6% of the training: start=0, end=0.5, until=0.666, after=1.

    Args:
        progress: in [0, 1].
        start, end: the values at both ends of the ramp.
        begin, until: where it lies, as shares of the stage; equal, they make a jump right after that point.
        after: the value once `until` is passed; None for `end`.
    """
    if after is not None and progress > until:
        return after
    done = base.done(progress, begin, until)
    return (1.0 - done) * start + done * end


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a ramp that is none, and a value after the end of the stage."""
    base.check_ramp(key, options)
    after = options.get("after")
    number(f"{key}.after", after, null="the value of end")
    if after is not None and options.get("until", 1.0) == 1:
        raise KdbenchError(f"{key}.after={after} would never come, since the ramp lasts until the end: set {key}.until "
                           "below 1, or leave after out")  # fmt: skip
