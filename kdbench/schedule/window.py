"""On in a part of the stage, off elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.error import KdbenchError
from kdbench.value import number, share

VERSION = 1


def window(progress: float, begin: float = 0.0, until: float = 1.0, value: float = 1.0) -> float:
    """`value` from `begin` on and before `until`, otherwise 0; until=1 includes the last step.

    Windows that meet (until of one, begin of the next) divide a stage without gap or overlap.

    Args:
        progress: in [0, 1].
        begin, until: shares of the stage.
        value: inside.
    """
    return value if begin <= progress and (progress < until or until >= 1.0) else 0.0


def check(key: str, options: Mapping[str, Any]) -> None:
    """Refuse a window that holds nothing."""
    begin, until = options.get("begin", 0.0), options.get("until", 1.0)
    share(f"{key}.begin", begin)
    share(f"{key}.until", until)
    number(f"{key}.value", options.get("value", 1.0))
    if begin >= until:
        raise KdbenchError(f"{key}.begin={begin} does not lie before {key}.until={until}, so the window holds no step: "
                           "give shares of the stage, the smaller one to begin")  # fmt: skip
