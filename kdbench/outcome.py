"""How a job ended, in plain values: nothing of it keeps a model, a trace or an exception alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """What a job hands back to whoever launched it; `reason` is one sentence where it failed or was ended."""

    status: Literal["finished", "reused", "failed", "pruned"]
    signature: str | None
    score: float | None
    reason: str | None = None
