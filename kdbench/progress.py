"""Where a stage's training stands: what schedules and drawn matchings are functions of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """An optimizer step from 0, the steps of the whole stage, and those of one epoch."""

    step: int
    steps: int
    steps_per_epoch: int

    @property
    def share(self) -> float:
        """How much of the stage is done, in [0, 1]: 0 at the first step and 1 at the last."""
        return min(1.0, self.step / max(1, self.steps - 1))

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self.step // self.steps_per_epoch


START = Progress(0, 1, 1)
"""The first step of a stage, for whoever asks outside of one."""
