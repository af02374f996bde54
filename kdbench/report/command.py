"""The console front `kdbench-report`: run folders to tables, figures, answers and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.error import KdbenchError, shows_errors
from kdbench.report.collect import Study, collect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kdbench.report.answer import Answers
    from kdbench.report.table import Tables

FIGURES = ("score", "trials", "gains", "effects", "pareto")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
@shows_errors
def command(
    folder: Annotated[Path, typer.Argument(help="A sweep's folder, a run's folder, a folder of several, or a store.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the report goes. By default FOLDER/report, for a store ./report.", show_default=False),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Score on this split, e.g. test, instead of the runs' own.", show_default=False)
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The store, where it is not the one that FOLDER names.", show_default=False)
    ] = None,
) -> None:
    """Tables, figures, the answer that the numbers give, and one HTML page of the runs in FOLDER.

    Writes report.html, summary.md, the tables runs.csv, summary.csv, over_tasks.csv, gains.csv, comparisons.csv,
    effects.csv, importance.csv and cells.csv, and the figures score, trials (of a search of two objectives), gains,
    effects and pareto as SVG and PNG (those with something to draw). Prints the summary, the answer, and the path of
    the page as its last line. A result that should be there and is missing or damaged is listed in the report, and the
    exit status is 1.
    """
    study = collect(folder, store)
    place = out or (Path("report") if study.is_store else folder / "report")
    summary, page = write_report(study, place, split)
    typer.echo(summary)
    typer.echo(page)
    if study.problems:
        more = f" (and {len(study.problems) - 1} more, all in the report)" if len(study.problems) > 1 else ""
        raise KdbenchError(study.problems[0] + more)


def write_report(study: Study, out: Path, split: str | None = None) -> tuple[str, Path]:
    """Write all files of the report into `out`; the text for the console and the path of the page.

    Raises `KdbenchError` where nothing can be reported or `out` cannot be written.
    """
    from kdbench.report.answer import answers
    from kdbench.report.drawing import inline_svg
    from kdbench.report.explore import explorer
    from kdbench.report.guideline import guideline
    from kdbench.report.markdown import markdown, short
    from kdbench.report.page import page
    from kdbench.report.table import tables

    made = tables(study, split)
    answered = answers(made.runs, made.axes)
    found = guideline(answered)
    figures = _figures(study, made, answered)
    inline = {name: inline_svg(figure, name) for name, figure in figures.items()}
    frames = {"runs": made.runs, "summary": made.summary, "over_tasks": made.averages, "cells": answered.cells}
    frames |= {name: getattr(answered, name) for name in ("gains", "comparisons", "effects", "importance")}
    path = out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            if len(frame.columns):
                frame.to_csv(out / f"{name}.csv", index=False)
        (out / "summary.md").write_text(markdown(study, made, answered, found), encoding="utf-8")
        _draw(out, figures)
        shown = page(study, made, answered, found, inline, explorer=explorer(study, made))
        path.write_text(shown, encoding="utf-8")
    except OSError as error:
        raise KdbenchError(f"the report cannot be written to {out} ({error.strerror}); choose another --out") from error
    return short(study, made, found), path


def _figures(study: Study, made: Tables, answered: Answers) -> dict[str, Figure]:
    """The figures with something to draw, by the section of the page they stand in."""
    from kdbench.report.effect_figure import effect_figure
    from kdbench.report.figure import score_figure
    from kdbench.report.gain_figure import gain_figure
    from kdbench.report.pareto_figure import pareto_figure
    from kdbench.report.trial_figure import trial_figure

    drawn = {
        "score": score_figure(made),
        "trials": trial_figure(study.searches),
        "gains": gain_figure(answered),
        "effects": effect_figure(answered),
        "pareto": pareto_figure(answered),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _draw(out: Path, figures: dict[str, Figure]) -> None:
    """The figures as files; one of an earlier report that has nothing to draw now is taken away."""
    from kdbench.report.drawing import svg

    for name in FIGURES:
        vector, pixels = out / f"{name}.svg", out / f"{name}.png"
        if name in figures:
            vector.write_text(svg(figures[name]), encoding="utf-8")
            figures[name].savefig(pixels, dpi=200, facecolor="white")
        else:
            vector.unlink(missing_ok=True)
            pixels.unlink(missing_ok=True)


def main() -> None:
    """The entry point of `kdbench-report`."""
    app()
