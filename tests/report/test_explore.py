"""What the interactive part of the page is made from: curves, safe JSON, runs whose artefacts are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.report.collect import collect
from kdbench.report.explore import Explorer, curves, explorer
from kdbench.report.table import tables

Record = dict[str, Any]
WriteSweep = Callable[..., Path]


def test_the_steps_of_stages_follow_each_other_and_what_is_no_number_is_left_out() -> None:
    history = [
        {"stage": "general", "step": 0, "validation/perplexity": 30.0},
        {"stage": "general", "step": 100, "train/loss": 2.0, "train/term/words": 1.5},
        {"stage": "task", "step": 50, "train/loss": float("nan")},
        {"stage": "task", "step": 75, "train/loss": 0.123456789},
    ]
    found = curves(history)
    assert found["train/loss"] == [[100.0, 175.0], [2.0, 0.12346]]
    assert found["validation/perplexity"] == [[0.0], [30.0]] and found["train/term/words"] == [[100.0], [1.5]]
    assert curves([]) == {}


def test_every_run_is_there_with_its_axes_and_numbers(records: list[Record], write_sweep: WriteSweep) -> None:
    for record in records:
        record["history"] = [{"stage": "task", "step": 5, "train/loss": 1.0}]
    study = collect(write_sweep(records))
    data = json.loads(explorer(study, tables(study)).json)
    assert {run["id"] for run in data["runs"]} == {record["signature"] for record in records}
    assert data["axes"] == ["knowledge"] and data["scores"] == ["validation/accuracy", "validation/pearson"]
    first = next(run for run in data["runs"] if run["id"] == records[0]["signature"])
    assert first["score"] == records[0]["metrics"]["validation/accuracy"] and first["parameters"] == 11_000_000
    assert first["axes"] == {"knowledge": "label"} and first["latency"] == 4.0
    assert data["curves"][records[0]["signature"]] == {"train/loss": [[5.0], [1.0]]}
    assert data["examples"] == {}, "these runs have no artefacts, and the page does without"


def test_no_text_ends_the_script_element_that_it_stands_in() -> None:
    hostile = "</script><script>alert(1)</script><!--"
    text = str(Explorer({"examples": hostile}).json)
    assert "<" not in text and json.loads(text) == {"examples": hostile}
