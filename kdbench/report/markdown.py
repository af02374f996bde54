"""The report as Markdown: the summary and the guideline for a console, and the same with all tables for a file."""

from __future__ import annotations

from kdbench.report.answer import Answers
from kdbench.report.collect import Study
from kdbench.report.column import markdown_table
from kdbench.report.guideline import Guideline
from kdbench.report.over_tasks import NOTE, TITLE, printed_over_tasks
from kdbench.report.printed import note, printed
from kdbench.report.printed_answer import sections
from kdbench.report.table import Tables
from kdbench.report.trial_table import trial_sections

SUPPORTED, UNDECIDED, REMARKS = "What the data support", "What they leave undecided", "How to read this"
NOTHING_SUPPORTED = "Nothing: no difference and no gain passes the correction."


def short(study: Study, tables: Tables, found: Guideline) -> str:
    """What is constant, the summary, the answer, and the jobs without a result."""
    return "\n\n".join([*_summary(study, tables), *_answer(found), *_absent(study)]) + "\n"


def markdown(study: Study, tables: Tables, answers: Answers, found: Guideline) -> str:
    """The whole of `summary.md`: `short`, with the tables of the answers after the guideline."""
    parts = [*_summary(study, tables), *_answer(found)]
    for section in [*trial_sections(study.searches), *sections(answers)]:
        parts.append(f"## {section.title}")
        parts += [markdown_table(section.columns)] if section.columns else []
        parts.append(section.note)
    return "\n\n".join([*parts, *_absent(study)]) + "\n"


def supported_or_none(found: Guideline) -> tuple[str, ...]:
    """The findings, or the sentence that there are none."""
    return found.supported or (NOTHING_SUPPORTED,)


def _summary(study: Study, tables: Tables) -> list[str]:
    parts = [f"# {study.name}"]
    if tables.constant:
        settings = ", ".join(f"{name} = {value or '(none)'}" for name, value in tables.constant.items())
        parts.append(f"Constant: {settings}.")
    parts += [markdown_table(printed(tables)), note(tables)]
    averages = printed_over_tasks(tables.averages)
    return [*parts, *([f"## {TITLE}", markdown_table(averages), NOTE] if averages else [])]


def _answer(found: Guideline) -> list[str]:
    parts = ["## Answer"]
    for title, sentences in (
        (SUPPORTED, supported_or_none(found)),
        (UNDECIDED, found.undecided),
        (REMARKS, found.remarks),
    ):
        if sentences:
            parts += [f"{title}:", "\n".join(f"- {sentence}" for sentence in sentences)]
    return parts


def _absent(study: Study) -> list[str]:
    if not study.without_result:
        return []
    lines = [f"- {job.status}: `{job.label or job.signature}`: {job.reason or ''}" for job in study.without_result]
    return [f"## Jobs without a result ({len(lines)} of {len(study.jobs)})", "\n".join(lines)]
