"""The page in a browser: real runs, charts that are there, filters that work, and an empty console."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kdbench
from kdbench.json_file import write_json
from kdbench.report.collect import collect
from kdbench.report.command import write_report
from kdbench.store import Store


@pytest.fixture(scope="module")
def page(store: Store, tiny_in: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two methods and two seeds, one of the texts with markup in it."""
    jobs = []
    for method in ("label", "soft"):
        for seed in ("1", "2"):
            overrides = tiny_in(store.root, f"method={method}", f"seed={seed}", "training.log_every_steps=2")
            signature = kdbench.run(kdbench.compose(overrides))["signature"]
            axes = {"method": method, "seed": seed}
            jobs.append({"signature": signature, "status": "finished", "axes": axes, "overrides": [], "reason": None})
    folder = tmp_path_factory.mktemp("sweep")
    trials = [{"number": number, "state": "finished", "values": [score, 9.0], "params": {}, "within": True,
               "best": score > 0.8, "reason": None} for number, score in enumerate((0.7, 0.9))]  # fmt: skip
    both = [{"name": "score", "direction": "maximize"}, {"name": "bytes", "direction": "minimize"}]
    search = {"study": "<i>s</i>", "objectives": both, "constraints": [], "trials": trials}
    content = {"name": "<b>which</b>", "store": str(store.root), "jobs": jobs, "search": search}
    write_json(folder / "sweep.json", content)
    return write_report(collect(folder), folder / "report")[1]


def test_charts_filters_and_examples(page: Path, browser: Any) -> None:
    browser.goto(page.as_uri())
    for chart in ("parallel", "pareto", "curves", "confusion"):
        assert browser.locator(f"#{chart} .main-svg").count() > 0, chart
    assert browser.locator("#chosen").inner_text() == "4 of 4 runs chosen."
    assert browser.locator("#curves .scatterlayer .trace").count() == 4
    assert browser.locator("#examples tbody tr").count() == 25
    assert browser.locator("h1").inner_text() == "<b>which</b>"

    trials = browser.locator("section", has=browser.locator("h2", has_text="Trials"))
    assert trials.locator("figure svg").is_visible() and trials.locator("tbody tr").count() == 2
    assert "Study <i>s</i>: maximize score" in trials.inner_text()

    browser.locator("#filters input[data-column=method][value=label]").uncheck()
    assert browser.locator("#chosen").inner_text() == "2 of 4 runs chosen."
    assert browser.locator("#curves .scatterlayer .trace").count() == 2
    assert browser.locator("tr[data-run]:not([hidden])").count() == 2
    assert all("soft" in text for text in browser.locator("#run option").all_inner_texts())

    browser.locator("#number").select_option("train/term/soft")
    assert browser.locator("#curves .ytitle").text_content() == "train/term/soft"
    browser.locator("#cost").select_option("latency")
    assert "milliseconds" in browser.locator("#pareto .xtitle").text_content()
    before = browser.locator("#examples tbody").inner_text()
    browser.locator("#run").select_option(index=1)
    assert browser.locator("#examples tbody").inner_text() != before

    title = browser.locator("table.sortable th button", has_text="score").first
    title.click()
    assert browser.locator("th[aria-sort=descending]").count() == 1


def test_the_front_is_that_of_the_table(
    records: list[dict[str, Any]], write_sweep: Callable[..., Path], browser: Any, tmp_path: Path
) -> None:
    """Also where a cell has more seeds on one task than on another, or lacks a task."""
    lacking = [record for record in records if (record["task"], record["axes"]["knowledge"]) != ("glue/rte", "logits")]
    for name, some in (("whole", records), ("uneven", records[1:]), ("lacking", lacking)):
        page = write_report(collect(write_sweep(some, folder=name)), tmp_path / name)[1]
        browser.goto(page.as_uri())
        told = pd.read_csv(tmp_path / name / "cells.csv")
        for cost, column in (("parameters", "parameters_total"), ("latency", "latency_ms_batch_1")):
            browser.locator("#cost").select_option(cost)
            traces = browser.evaluate("document.getElementById('pareto').data.map((one) => [one.name, one.x, one.y])")
            drawn = {(kind, *point) for kind, x, y in traces for point in zip(x, y, strict=True)}
            fronts = told[f"front_{column}"].map({True: "front", False: "dominated"})
            rows = zip(fronts, told[column], 100 * told["score"], strict=True)
            assert _rounded(drawn) == _rounded(rows), (name, cost)


def _rounded(points: Iterable[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    return sorted((kind, round(x, 6), round(y, 6)) for kind, x, y in points)


def test_without_scripts_the_page_is_whole_but_for_its_interactive_part(page: Path, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(page.as_uri())
    assert shown.locator("#explore").is_hidden() and shown.locator("h2", has_text="Summary").is_visible()
    context.close()
