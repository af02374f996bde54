"""The trials of a search in its report: the study's own front, and those that were pruned."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from kdbench.error import KdbenchError
from kdbench.json_file import read_json, write_json
from kdbench.report.collect import collect
from kdbench.report.command import write_report
from kdbench.report.trial_figure import trial_figure
from kdbench.search.objective import constraints, objectives
from kdbench.search.result import as_record
from kdbench.search.told import REASON, SIGNATURE

Record = dict[str, Any]
WriteSweep = Callable[..., Path]
POINTS = [(0.9, 40.0), (0.8, 20.0), (0.7, 30.0), (0.6, 10.0), (0.8, 20.0), (0.95, 90.0)]
"""validation/f1 and bytes: the third is beaten by the second, and the last is beyond the bound."""


def ended(state: TrialState, **options: Any) -> FrozenTrial:
    return optuna.trial.create_trial(state=state, **options)


@pytest.fixture
def study() -> optuna.Study:
    """One of two objectives and a bound, with a pruned, an impossible and a failed trial."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    distribution = {"rate": optuna.distributions.FloatDistribution(0, 1)}
    for place, point in enumerate(POINTS):
        study.add_trial(
            ended(
                TrialState.COMPLETE, values=list(point), params={"rate": place / 10}, distributions=distribution,
                user_attrs={SIGNATURE: f"{place:016x}"}, constraints={"bytes <= 80": point[1] - 80},
            )
        )  # fmt: skip
    reason = "pruned after 1 of 4 evaluations, at 0.5"
    study.add_trial(ended(TrialState.PRUNED, user_attrs={SIGNATURE: "a" * 16, REASON: reason}))
    study.add_trial(ended(TrialState.PRUNED, user_attrs={REASON: "wider than its teacher"}))
    study.add_trial(ended(TrialState.FAIL, user_attrs={REASON: "the loss is NaN"}))
    return study


@pytest.fixture
def search(study: optuna.Study, records: list[Record], write_sweep: WriteSweep) -> Path:
    """The folder of the search, as it is written at its end."""
    folder = write_sweep(records)
    bounds = constraints({"bytes": "<= 80"})
    record = as_record("s", study.trials, objectives(["validation/f1", "bytes"], None), bounds)
    write_json(folder / "sweep.json", read_json(folder / "sweep.json") | {"search": record})
    return folder


def rows(text: str) -> list[dict[str, str]]:
    """The table below the title Trials in summary.md."""
    lines = [line for line in text.partition("\n## Trials\n")[2].partition("\n## ")[0].splitlines() if line[:1] == "|"]
    titles, _, *cells = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return [dict(zip(titles, each, strict=True)) for each in cells]


def test_the_front_of_the_report_is_that_of_the_study(search: Path, study: optuna.Study, tmp_path: Path) -> None:
    _, page = write_report(collect(search), tmp_path / "report")
    found = rows((tmp_path / "report" / "summary.md").read_text())
    front = {trial.number for trial in study.best_trials}
    assert {int(row["trial"]) for row in found if row["front"] == "yes"} == front == {0, 1, 3, 4}
    assert [row["state"] for row in found] == ["finished"] * 6 + ["pruned", "impossible", "failed"]
    assert [row["within bounds"] for row in found] == ["yes"] * 5 + ["no"] + [""] * 3
    assert found[0]["validation/f1 (%)"] == "90.00" and found[0]["bytes"] == "40" and found[3]["rate"] == "0.3"
    assert found[6]["reason"] == "pruned after 1 of 4 evaluations, at 0.5" and found[6]["bytes"] == ""
    html = page.read_text()
    section = html.partition("<h2>Trials</h2>")[2].partition("</section>")[0]
    assert "<svg" in section and "maximize validation/f1, minimize bytes, within bytes &lt;= 80" in section
    table = section.partition("<tbody>")[2]
    marked = [re.findall(r">([^<]*)</td>", row) for row in table.split("</tr>")[:-1]]
    assert [int(cells[0]) for cells in marked if cells[5] == "yes"] == sorted(front)
    assert (tmp_path / "report" / "trials.svg").is_file()


def test_the_figure_draws_the_finished_trials_and_joins_the_front(search: Path) -> None:
    figure = trial_figure(collect(search).searches)
    assert figure is not None
    (panel,) = figure.axes
    rest, beyond, front = (sorted((float(x), float(y)) for x, y in line.get_xydata()) for line in panel.lines)
    assert front == [(10.0, 60.0), (20.0, 80.0), (40.0, 90.0)]
    assert (rest, beyond) == ([(30.0, 70.0)], [(90.0, 95.0)])
    assert [text.get_text() for text in panel.texts] == ["3", "1, 4", "0"]
    assert panel.get_xlabel() == "bytes" and panel.get_ylabel() == "validation/f1 (%)"


def test_a_search_of_one_objective_marks_its_best_and_has_no_figure(
    records: list[Record], write_sweep: WriteSweep, tmp_path: Path
) -> None:
    folder = write_sweep(records)
    trials = [ended(TrialState.COMPLETE, value=value) for value in (0.5, 0.7)]
    pruned = ended(TrialState.PRUNED, intermediate_values={1: 0.4}, value=0.4, user_attrs={SIGNATURE: "a" * 16})
    for number, trial in enumerate([*trials, pruned]):
        trial.number = number
    record = as_record("s", [*trials, pruned], objectives("score", None), [])
    write_json(folder / "sweep.json", read_json(folder / "sweep.json") | {"search": record})
    write_report(collect(folder), tmp_path / "report")
    found = rows((tmp_path / "report" / "summary.md").read_text())
    assert [(row["state"], row["score (%)"], row["best"]) for row in found] == [
        ("finished", "50.00", ""), ("finished", "70.00", "yes"), ("pruned", "40.00", ""),
    ]  # fmt: skip
    assert not (tmp_path / "report" / "trials.svg").exists()


def test_a_file_of_an_earlier_version_is_read(records: list[Record], write_sweep: WriteSweep, tmp_path: Path) -> None:
    folder = write_sweep(records)
    assert collect(folder).searches == ()
    write_report(collect(folder), tmp_path / "report")
    assert "## Trials" not in (tmp_path / "report" / "summary.md").read_text()


def test_trials_that_cannot_be_read_are_refused(search: Path) -> None:
    content = read_json(search / "sweep.json")
    del content["search"]["trials"][0]["state"]
    write_json(search / "sweep.json", content)
    with pytest.raises(
        KdbenchError, match=r"sweep\.json has trials that cannot be read \(KeyError\('state'\)\); repeat"
    ):
        collect(search)
