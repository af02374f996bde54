"""The page of a report: one HTML file that needs no network and no other file, and JavaScript only to explore."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdbench import __version__
from kdbench.report.answer import Answers
from kdbench.report.collect import Study
from kdbench.report.column import Column
from kdbench.report.explore import Explorer
from kdbench.report.guideline import Guideline
from kdbench.report.markdown import REMARKS, SUPPORTED, UNDECIDED, supported_or_none
from kdbench.report.number import percent, rough
from kdbench.report.over_tasks import NOTE, TITLE, printed_over_tasks
from kdbench.report.printed import note, printed
from kdbench.report.printed_answer import Section, sections
from kdbench.report.table import Tables, tells_task
from kdbench.report.trial_table import trial_sections

TEMPLATE = "page.html.j2"
CAPTIONS = {
    "trials": "Finished trials. Numbers and the line: the front; a cross: beyond a bound.",
    "gains": "Each cell's gain over its control, the line at 0: mean over all matched pairs with its 95 % interval.",
    "effects": "Each level against the other levels of its axis: mean over all matched blocks with its 95 % interval.",
    "pareto": "Numbers and the line: cells that no other beats at the same cost or less. Dashed: the teacher.",
}


def page(
    study: Study,
    tables: Tables,
    answers: Answers,
    found: Guideline,
    figures: Mapping[str, str],
    made: datetime | None = None,
    explorer: Explorer | None = None,
) -> str:
    """The HTML text.

    Args:
        study, tables, answers, found: what the report tells.
        figures: SVG elements of ours (not escaped) by the section they stand in: `score`, `trials`, `gains`, `effects`,
            `pareto`.
        made: the date shown, by default now.
        explorer: of the interactive part; None: without one.
    """
    environment = Environment(
        loader=PackageLoader("kdbench", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    records = [job.record or {} for job in study.runs]
    columns, averages = printed(tables), printed_over_tasks(tables.averages)
    shown = [*trial_sections(study.searches), *sections(answers)]
    return environment.get_template(TEMPLATE).render(
        study=study,
        tasks=list(dict.fromkeys(tables.runs["task"])),
        columns=columns,
        rows=_rows(columns),
        roles=list(tables.summary["role"]),
        note=note(tables),
        averages={"title": TITLE, "note": NOTE, "columns": averages, "rows": _rows(averages)} if averages else None,
        average_roles=list(tables.averages["role"]) if averages else [],
        answer={SUPPORTED: supported_or_none(found), UNDECIDED: found.undecided, REMARKS: found.remarks},
        sections=[_shown(section, figures) for section in shown],
        figure=Markup(figures["score"]),
        constant=tables.constant,
        run_columns=(run_columns := _run_columns(tables)),
        runs=_rows(run_columns),
        signatures=list(tables.runs["signature"]),
        guards=_guards(records),
        explorer=explorer,
        versions=versions(records),
        made=(made or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        kdbench=__version__,
    )


def versions(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The versions and commits that the runs were made with, all of them where they differ."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in (record.get("versions") or {}).items():
            found.setdefault(name, {})[str(value)] = None
        if record.get("git"):
            found.setdefault("git commit", {})[str(record["git"])] = None
    return {name: ", ".join(values) for name, values in sorted(found.items())}


def _shown(section: Section, figures: Mapping[str, str]) -> dict[str, Any]:
    """A section in the template's words: columns and rows of its two tables, its figure and its note."""
    return {
        "title": section.title,
        "note": section.note,
        "figure": Markup(figures[section.name]) if section.name in figures else None,
        "caption": CAPTIONS.get(section.name),
        "tables": [
            (columns, _rows(columns), each)
            for columns, each in ((section.columns, False), (section.each_task, True))
            if columns
        ],
    }


def _rows(columns: Sequence[Column]) -> list[list[tuple[str, str, bool]]]:
    """The cells of each row: text, value to sort by, whether it is a number."""
    cells = [
        [(text, _sortable(value), column.numeric) for text, value in zip(column.texts, column.values, strict=True)]
        for column in columns
    ]
    return [list(row) for row in zip(*cells, strict=True)]


def _sortable(value: str | float) -> str:
    return value if isinstance(value, str) else "" if math.isnan(value) else repr(value)


def _run_columns(tables: Tables) -> list[Column]:
    runs = tables.runs
    names = ["task", *(name for name in tables.varying if not tells_task(runs, name)), "seed"]
    columns = [Column(name, tuple(map(str, runs[name])), tuple(map(str, runs[name])), False) for name in names]
    for name, title, text in (
        ("score", "score (%)", percent),
        ("kept", "kept (%)", percent),
        ("train_seconds", "training (s)", rough),
    ):
        values = tuple(float(value) for value in runs[name])
        columns.append(Column(title, tuple("" if math.isnan(value) else text(value) for value in values), values))
    columns.append(Column("signature", tuple(runs["signature"]), tuple(runs["signature"]), False))
    return [column for column in columns if any(column.texts)]


def _guards(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """What the guards of the runs had to say, each sentence once with the runs it concerns."""
    found: dict[str, list[str]] = {}
    for record in records:
        for sentence in record.get("guards") or ():
            found.setdefault(str(sentence), []).append(str(record["signature"]))
    return list(found.items())
