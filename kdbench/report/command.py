"""The console front `kdbench-report`: run folders to tables, a figure and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdbench.error import KdbenchError, shows_errors
from kdbench.report.collect import Study, collect

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
    """Tables, a figure and one HTML page of the runs in FOLDER.

    Writes runs.csv, summary.csv, summary.md, score.svg, score.png and report.html, prints the summary, and the path of
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
    """Write all files of the report into `out`; the Markdown text and the path of the page.

    Raises `KdbenchError` where nothing can be reported or `out` cannot be written.
    """
    from kdbench.report.figure import inline_svg, score_figure, svg
    from kdbench.report.page import page
    from kdbench.report.printed import markdown
    from kdbench.report.table import tables

    made = tables(study, split)
    figure = score_figure(made)
    summary = markdown(study, made)
    path = out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        made.runs.to_csv(out / "runs.csv", index=False)
        made.summary.to_csv(out / "summary.csv", index=False)
        (out / "summary.md").write_text(summary, encoding="utf-8")
        (out / "score.svg").write_text(svg(figure), encoding="utf-8")
        figure.savefig(out / "score.png", dpi=200, facecolor="white")
        path.write_text(page(study, made, inline_svg(figure)), encoding="utf-8")
    except OSError as error:
        raise KdbenchError(f"the report cannot be written to {out} ({error.strerror}); choose another --out") from error
    return summary, path


def main() -> None:
    """The entry point of `kdbench-report`."""
    app()
