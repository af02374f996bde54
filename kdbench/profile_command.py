"""The console front `kdbench-profile`: where a step's time goes, and what files of the teacher's outputs would save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.error import KdbenchError, shows_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kdbench.profile import Profile

app = typer.Typer(
    help="Time the parts of a training step of any configuration, on its own data, teacher and student.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="As for kdbench: data=glue/rte knowledge=hidden ...")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Steps to time.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Runs that would share the teacher's outputs.")]
Stage = Annotated[str | None, typer.Option("--stage", help="Of the method's stages; the first, unless said.")]


@app.command()
def profile_command(overrides: Overrides = None, steps: Steps = 20, runs: Runs = 8, stage: Stage = None) -> None:
    """Print the share of each part of a step, and the plan's estimates beside what was measured.

    Data and teacher come from the store, or are made and kept there; nothing else is kept. One thread per core that
    torch is given: set OMP_NUM_THREADS=1 for figures of one worker of a sweep.
    """
    from kdbench.kept_memory import keep_freed_memory
    from kdbench.pipeline import prepare
    from kdbench.planning import plan_run
    from kdbench.profile import profile
    from kdbench.store import Store

    keep_freed_memory()
    cfg = _composed(overrides or [])
    store = Store(cfg.paths.store)
    stages = [str(name) for name in cfg.stages]
    if stage is not None and stage not in stages:
        raise KdbenchError(f"--stage {stage} is none of the method's stages: choose one of {', '.join(stages)}")
    chosen = stage or stages[0]
    found = profile(prepare(cfg, plan_run(cfg, store), store), chosen, steps)
    typer.echo("\n".join(lines(chosen, found, runs)))


def _composed(overrides: list[str]) -> DictConfig:
    from kdbench.composition_error import of_composition, sentence
    from kdbench.config import compose

    try:
        return compose(overrides)
    except Exception as error:
        if not of_composition(error):
            raise
        raise KdbenchError(sentence(error)) from error


def lines(stage: str, found: Profile, runs: int) -> list[str]:
    """The profile for a reader."""
    whole = sum(found.seconds.values())
    printed = [f"stage {stage}: one step of {1000 * whole:.1f} ms, {found.padding:.2f} padded tokens a real one"]
    for part, seconds in found.seconds.items():
        printed.append(f"  {part:<10}{1000 * seconds:9.2f} ms {seconds / whole:7.1%}")
    if found.files is None or found.expected is None:
        return [*printed, "no term reads a teacher"]
    teacher, read = (1000 * seconds for seconds in found.expected)
    live, shared = found.hours(runs)
    return [
        *printed,
        f"the teacher's outputs from files: {1000 * found.files:.2f} ms a step, "
        f"{found.files / found.seconds['teacher']:.1%} of the live teacher",
        f"the plan reckons with {teacher:.1f} ms for the teacher and {read:.2f} ms for files: {found.choice}",
        f"{runs} such runs of {found.steps} steps: {live:.2f} h with a live teacher, {shared:.2f} h from files "
        f"({live / shared:.1f} times as fast)",
    ]


@shows_errors
def main() -> None:
    """Run the front; a user's mistake is one sentence."""
    app()
