"""Gates, verdicts and the table of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.line import Line, as_json, shown, table

GAIN = Line("P1", "sweep", "TextBrewer", (3.0, 2.8, 3.4), 3.5)
SHARE = Line("P13", "share", "live teacher", (1.5, 1.4, 1.9), 2.0, at_most=True, unit="%")


def test_a_quick_run_asks_a_third_of_a_gain_and_all_of_any_other_gate() -> None:
    assert GAIN.asked(quick=False) == 3.5
    assert GAIN.asked(quick=True) == pytest.approx(1 + 2.5 / 3)
    assert Line("P5", "step", "TextBrewer", None, 0.95).asked(quick=True) == 0.95
    assert SHARE.asked(quick=True) == 2.0


@pytest.mark.parametrize(
    ("line", "quick", "verdict"),
    [
        (GAIN, False, "missed"),
        (GAIN, True, "pass"),
        (SHARE, False, "pass"),
        (Line("P13", "share", "live teacher", (2.1, 2.0, 2.2), 2.0, at_most=True, unit="%"), True, "missed"),
        (Line("P1", "sweep", "TextBrewer", (3.5, 3.5, 3.5), 3.5), False, "pass"),
        (Line("P1", "sweep", "TextBrewer", (3.5, 3.5, 3.5), None), False, "shown"),
        (Line("P1", "sweep", "TextBrewer", None, 3.5), True, "skipped"),
        (Line("G3", "forward pass", "the chip", None, 45.0, missing="not measured"), False, "not measured"),
    ],
)
def test_the_median_decides_and_what_was_not_measured_never_passes(line: Line, quick: bool, verdict: str) -> None:
    assert line.verdict(quick) == verdict
    assert as_json(line, quick)["verdict"] == verdict


def test_the_table_has_a_row_a_line_and_the_notes_below() -> None:
    skipped = Line("P5", "one student", "torchdistill", None, 0.95, note="torchdistill: not installed")
    rows = table([GAIN, SHARE, skipped], quick=False).splitlines()
    assert rows[2] == "| P1 | sweep | TextBrewer | 3x (2.8x to 3.4x) | at least 3.5x | missed |"
    assert rows[3] == "| P13 | share | live teacher | 1.5 % (1.4 % to 1.9 %) | at most 2 % | pass |"
    assert rows[4] == "| P5 | one student | torchdistill |  | at least 0.95x | skipped |"
    assert rows[-1] == "- P5: torchdistill: not installed"


@pytest.mark.parametrize(("value", "unit", "text"), [(4.216, "x", "4.22x"), (0.5, "ms", "0.5 ms"), (1.03, "", "1.03")])
def test_numbers_have_three_digits_and_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_what_was_measured_is_kept_whole_for_the_file() -> None:
    kept = as_json(GAIN, quick=False)
    assert kept["figure"] == {"median": 3.0, "least": 2.8, "greatest": 3.4}
    assert as_json(Line("P1", "sweep", "TextBrewer", None, 3.5), quick=False)["figure"] is None
