from __future__ import annotations

import numpy as np
import pytest

from kdbench.error import KdbenchError
from kdbench.metric import score

RANDOM = np.random.default_rng(5)


def logits_of(classes: np.ndarray, width: int) -> np.ndarray:
    """Noise below 1 under a margin of 2: the largest logit is the class."""
    return RANDOM.random((len(classes), width)) + 2 * np.eye(width)[classes]


def counts(predicted: np.ndarray, labels: np.ndarray, positive: int) -> tuple[int, int, int, int]:
    yes, real = predicted == positive, labels == positive
    return int((yes & real).sum()), int((yes & ~real).sum()), int((~yes & real).sum()), int((~yes & ~real).sum())


def f1(predicted: np.ndarray, labels: np.ndarray, positive: int = 1) -> float:
    right, wrong, missed, _ = counts(predicted, labels, positive)
    return 2 * right / (2 * right + wrong + missed)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean rank of equal values."""
    return np.array([(values < value).sum() + ((values == value).sum() + 1) / 2 for value in values])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def test_two_classes_by_their_definitions() -> None:
    labels, predicted = RANDOM.integers(0, 2, 200), RANDOM.integers(0, 2, 200)
    predicted[:120] = labels[:120]
    found = score(["accuracy", "f1", "macro_f1", "matthews"], logits_of(predicted, 2), labels)
    tp, fp, fn, tn = counts(predicted, labels, 1)
    assert found["accuracy"] == pytest.approx((tp + tn) / 200)
    assert found["f1"] == pytest.approx(f1(predicted, labels))
    assert found["macro_f1"] == pytest.approx((f1(predicted, labels) + f1(predicted, labels, 0)) / 2)
    root = np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    assert found["matthews"] == pytest.approx((tp * tn - fp * fn) / root)


def test_three_classes_by_their_definitions() -> None:
    labels, predicted = RANDOM.integers(0, 3, 200), RANDOM.integers(0, 3, 200)
    predicted[:120] = labels[:120]
    found = score(["accuracy", "macro_f1"], logits_of(predicted, 3), labels)
    assert found["accuracy"] == pytest.approx(np.mean(predicted == labels))
    assert found["macro_f1"] == pytest.approx(np.mean([f1(predicted, labels, label) for label in range(3)]))


@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_correlations_by_their_definitions(shape) -> None:
    labels = RANDOM.integers(0, 6, 50).astype(np.float32)
    predicted = (labels + RANDOM.normal(size=50)).astype(np.float32)
    found = score(["pearson", "spearman"], predicted.reshape(shape), labels)
    assert found["pearson"] == pytest.approx(correlation(predicted.astype(float), labels.astype(float)))
    assert found["spearman"] == pytest.approx(correlation(ranks(predicted), ranks(labels)))


def test_only_labelled_rows_count() -> None:
    logits = np.array([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [np.nan, 0.0]])
    assert score(["accuracy"], logits, np.array([0, 0, -1, -1])) == {"accuracy": 0.5}
    values, labels = np.array([1.0, 2.0, 3.0, 99.0]), np.array([1.0, 2.0, 3.0, np.nan])
    assert score(["pearson"], values, labels) == {"pearson": pytest.approx(1.0)}


@pytest.mark.parametrize("name", ["f1", "macro_f1", "matthews", "accuracy"])
def test_one_answer_to_everything_scores_what_a_guess_does(name) -> None:
    labels = np.array([0, 1, 0, 1])
    expected = {"f1": 0.0, "macro_f1": 1 / 3, "matthews": 0.0, "accuracy": 0.5}[name]
    assert score([name], np.tile([1.0, 0.0], (4, 1)), labels)[name] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_has_no_correlation(name) -> None:
    assert score([name], np.full(4, 2.5), np.arange(4.0)) == {name: 0.0}
    assert score([name], np.arange(4.0), np.full(4, 2.5)) == {name: 0.0}


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "sentence"),
    [
        ("accurracy", [[0.0, 1.0]], [1], "metric accurracy is unknown; choose among accuracy, f1"),
        ("accuracy", [[0.0, 1.0]], [-1], "no row has a label, so there is nothing to score"),
        ("pearson", [0.5], [np.nan], "no row has a label"),
        ("accuracy", np.zeros((0, 2)), [], "no row has a label"),
        ("accuracy", [[0.0, np.nan]], [1], "the predictions hold NaN or infinity: the model has diverged"),
        ("accuracy", [[0.0, 1.0]], [1, 0], "there are 1 predictions for 2 rows"),
        ("accuracy", [0.5], [1], "metric accuracy needs logits of two or more classes"),
        ("pearson", [[0.5, 0.1]], [1.0], "metric pearson needs one value a row and there are 2"),
        ("f1", [[0.5, 0.1, 0.2]], [1], "metric f1 is for two classes and there are 3: use macro_f1"),
    ],
)
def test_what_cannot_be_scored_is_refused(name, predictions, labels, sentence) -> None:
    with pytest.raises(KdbenchError) as caught:
        score([name], np.array(predictions), np.array(labels))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_that_are_numbers_correlate_as_the_numbers() -> None:
    labels, told = np.array([0, 3, 5, 20]), np.array([1, 3, 4, 18])
    values = {name: 1 + 0.2 * places for name, places in (("gold", labels), ("told", told))}
    found = score(["pearson", "spearman"], np.eye(21)[told], labels)
    assert found["pearson"] == pytest.approx(np.corrcoef(values["gold"], values["told"])[0, 1])
    assert found["spearman"] == pytest.approx(1.0)


def test_told_words_by_their_definitions() -> None:
    words = np.array([4, 7, 7, 9])
    told = np.array([[4, 0.5], [7, 0.1], [3, 2.0], [9, 0.2]])
    found = score(["masked_accuracy", "perplexity"], told, words)
    assert found == {"masked_accuracy": 0.75, "perplexity": pytest.approx(np.exp(0.7))}


def test_a_question_counts_where_all_of_its_rows_are_right() -> None:
    """MultiRC's exact match: three questions, of which the second has a wrong row."""
    labels, groups = np.array([1, 0, 1, 1, 0, 0]), np.array([0, 0, 2, 2, 4, 4])
    predicted = np.array([1, 0, 1, 0, 0, 0])
    found = score(["question_exact_match", "accuracy"], logits_of(predicted, 2), labels, groups)
    assert found == {"question_exact_match": pytest.approx(2 / 3), "accuracy": pytest.approx(5 / 6)}
    alone = score(["question_exact_match", "accuracy"], logits_of(predicted, 2), labels)
    assert alone["question_exact_match"] == pytest.approx(alone["accuracy"])


def test_an_answer_is_worth_what_its_words_are() -> None:
    credits = np.zeros((2, 3, 2))
    credits[0, 1], credits[0, 2], credits[1, 0] = (1.0, 1.0), (0.0, 0.4), (0.0, 0.5)
    found = score(["answer_exact_match", "answer_f1"], logits_of(np.array([1, 0]), 3), np.array([1, 2]), None, credits)
    assert found == {"answer_exact_match": 0.5, "answer_f1": 0.75}
    with pytest.raises(KdbenchError, match="needs answers with words of their own"):
        score(["answer_f1"], logits_of(np.array([1, 0]), 3), np.array([1, 2]))


def test_a_task_of_two_metrics_counts_their_mean() -> None:
    labels, predicted = np.array([0, 1, 2, 0]), np.array([0, 1, 1, 0])
    found = score(["mean", "accuracy", "macro_f1"], logits_of(predicted, 3), labels)
    assert list(found) == ["mean", "accuracy", "macro_f1"]
    assert found["mean"] == pytest.approx((found["accuracy"] + found["macro_f1"]) / 2)
