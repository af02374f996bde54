"""GLUE's submission files, line by line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from kdbench.error import KdbenchError
from kdbench.submission import FORMATS, check_submission, write_submission

TWO_WAY = ("entailment", "not_entailment")
THREE_WAY = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize(
    ("task", "split", "labels", "predictions", "file", "printed"),
    [
        ("glue/cola", "test", ("unacceptable", "acceptable"), [1, 0], "CoLA.tsv", ["1", "0"]),
        ("glue/sst2", "test", ("negative", "positive"), [1, 1], "SST-2.tsv", ["1", "1"]),
        ("glue/mrpc", "test", ("not_equivalent", "equivalent"), [0, 1], "MRPC.tsv", ["0", "1"]),
        ("glue/stsb", "test", (), [5.2, -0.1, 3.14159, 2.0], "STS-B.tsv", ["5.000", "0.000", "3.142", "2.000"]),
        ("glue/qqp", "test", ("not_duplicate", "duplicate"), [0, 1], "QQP.tsv", ["0", "1"]),
        ("glue/mnli", "test", THREE_WAY, [2, 1], "MNLI-m.tsv", ["contradiction", "neutral"]),
        ("glue/mnli", "test_matched", THREE_WAY, [0, 1], "MNLI-m.tsv", ["entailment", "neutral"]),
        ("glue/mnli", "test_mismatched", THREE_WAY, [0, 1], "MNLI-mm.tsv", ["entailment", "neutral"]),
        ("glue/qnli", "test", TWO_WAY, [0, 1], "QNLI.tsv", ["entailment", "not_entailment"]),
        ("glue/rte", "test", TWO_WAY, [1, 0], "RTE.tsv", ["not_entailment", "entailment"]),
        ("glue/wnli", "test", ("not_entailment", "entailment"), [1, 0], "WNLI.tsv", ["1", "0"]),
    ],
)
def test_each_task(
    task: str,
    split: str,
    labels: tuple[str, ...],
    predictions: list[float],
    file: str,
    printed: list[str],
    tmp_path: Path,
) -> None:
    path = write_submission(tmp_path, task, split, np.arange(len(predictions)), np.array(predictions), labels)
    assert path == tmp_path / file
    expected = ["index\tprediction", *(f"{row}\t{value}" for row, value in enumerate(printed))]
    assert path.read_bytes() == ("\n".join(expected) + "\n").encode()


def test_every_glue_task_of_the_configuration_has_a_format() -> None:
    from kdbench.config import CONF_DIR

    tasks = {f"glue/{file.stem}" for file in (CONF_DIR / "data" / "glue").glob("*.yaml")}
    assert tasks - {"glue/stsb_binned"} == set(FORMATS), "and classes of similarity are nothing that GLUE takes"


def test_rows_are_written_in_the_order_of_their_source(tmp_path: Path) -> None:
    path = write_submission(tmp_path, "glue/rte", "test", np.array([2, 0, 1]), np.array([1, 0, 0]), TWO_WAY)
    assert path.read_text().splitlines()[1:] == ["0\tentailment", "1\tentailment", "2\tnot_entailment"]


def test_other_rows_than_the_test_rows_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("test", "validation"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            write_submission(tmp_path, "glue/rte", split, np.arange(1), np.array([1]), TWO_WAY)
        assert ["validation" in record.getMessage() for record in caplog.records] == [True] * (split == "validation")


@pytest.mark.parametrize(
    ("task", "labels", "index", "sentence"),
    [
        ("reviews", ("rotten", "fresh"), [0, 1], "reviews is none of its tasks"),
        ("glue/rte", ("yes", "no"), [0, 1], r"data\.labels=\['yes', 'no'\] are not the names"),
        ("glue/rte", TWO_WAY, [0, 2], r"test has been cut to 2: set data\.evaluation_rows=null"),
        ("glue/rte", TWO_WAY, [0, 0], "needs a prediction for every row"),
    ],
)
def test_what_cannot_be_handed_in_is_refused(
    task: str, labels: tuple[str, ...], index: list[int], sentence: str
) -> None:
    with pytest.raises(KdbenchError, match=sentence) as caught:
        check_submission(task, "test", np.array(index), labels)
    assert "\n" not in str(caught.value)
