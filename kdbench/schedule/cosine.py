"""Half a cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kdbench.schedule import base

VERSION = 1


def cosine(progress: float, start: float = 1.0, end: float = 0.0, begin: float = 0.0, until: float = 1.0) -> float:
    """Half a cosine wave from `start` to `end`: level at both ends and steepest between them.

    The shape of Loshchilov and Hutter 2017 without restarts, for any number instead of a learning rate.

    Args:
        progress: in [0, 1].
        start, end: the values at both ends.
        begin, until: where it lies, as shares of the stage; level before and after.
    """
    done = 0.5 * (1.0 - math.cos(math.pi * base.done(progress, begin, until)))
    return (1.0 - done) * start + done * end


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a ramp that is none."""
    base.check_ramp(key, options)
