"""Scores of predictions: GLUE's metrics, from scikit-learn and SciPy, and those of told words.

Higher is better for each of them, except for those in `LOWER_IS_BETTER`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbench.error import KdbenchError

CLASSES = ("accuracy", "f1", "macro_f1", "matthews")
OF_QUESTIONS = ("question_exact_match",)
OF_ANSWERS = ("answer_exact_match", "answer_f1")
MEAN = "mean"
"""Of a task's other metrics, as GLUE and SuperGLUE count a task that has two."""
CORRELATIONS = ("pearson", "spearman")
CLASSIFICATION = (*CLASSES, *OF_QUESTIONS, *OF_ANSWERS, MEAN)
REGRESSION = (*CORRELATIONS, MEAN)
SPAN = (*OF_ANSWERS, MEAN)
WORDS = ("masked_accuracy", "perplexity")
LOWER_IS_BETTER = ("perplexity",)


def score(
    names: Sequence[str],
    predictions: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    credits: np.ndarray | None = None,
) -> dict[str, float]:
    """Score the labelled rows by each named metric.

    Where a metric is undefined because all predictions or all labels are equal, it is 0.0, the value of a guess.

    Args:
        names: of metrics; see `CLASSIFICATION`, `REGRESSION`, `SPAN` and `WORDS`.
        predictions: (N, C) logits for class ids, (N,) or (N, 1) values for a regression (a correlation of logits is
            that of the likeliest classes, which are in order); of words, (N, 2): that told,
            and the surprise in nats at the one that stood there.
        labels: (N,) class ids or words with -1 for none, or floats with NaN for none.
        groups: the question of each row, (N,), of which `question_exact_match` asks that all rows are right; None: each
            row is one.
        credits: exact match and F1 of each answer, (N, K, 2), of which the metrics of answers are the means over the
            chosen ones.

    Returns:
        By name, from 0 to 1, a correlation from -1; a perplexity is at least 1.

    Raises:
        KdbenchError: no labelled row, an unknown name, or predictions that are not finite.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if len(predictions) != len(labels):
        raise KdbenchError(f"there are {len(predictions)} predictions for {len(labels)} rows: predict the same split")
    kept = ~np.isnan(labels) if np.issubdtype(labels.dtype, np.floating) else labels >= 0
    if not kept.any():
        raise KdbenchError("no row has a label, so there is nothing to score: choose a labelled split")
    predictions, labels = predictions[kept], labels[kept]
    groups = np.arange(len(kept))[kept] if groups is None else np.asarray(groups)[kept]
    credits = None if credits is None else np.asarray(credits)[kept]
    if not np.isfinite(predictions).all():
        raise KdbenchError("the predictions hold NaN or infinity: the model has diverged, so lower optimizer.lr")
    found = {name: _one(name, predictions, labels, groups, credits) for name in names if name != MEAN}
    return {name: float(np.mean([*found.values()])) if name == MEAN else found[name] for name in names}


def _one(
    name: str, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray, credits: np.ndarray | None
) -> float:
    if name in OF_QUESTIONS:
        wrong = predictions.argmax(axis=1) != labels
        return 1.0 - len(np.unique(groups[wrong])) / len(np.unique(groups))
    if name in OF_ANSWERS:
        if credits is None:
            raise KdbenchError(f"metric {name} needs answers with words of their own: choose accuracy")
        chosen = credits[np.arange(len(credits)), predictions.argmax(axis=1)]
        return float(chosen[:, OF_ANSWERS.index(name)].mean())
    if name in CLASSES:
        if predictions.ndim != 2 or predictions.shape[1] < 2:
            raise KdbenchError(f"metric {name} needs logits of two or more classes; a regression has pearson, spearman")
        return _classification(name, predictions, labels)
    if name in CORRELATIONS:
        if predictions.size != len(labels) and np.issubdtype(labels.dtype, np.floating):
            raise KdbenchError(f"metric {name} needs one value a row and there are {predictions.shape[1]}")
        # Of classes that are numbers in equal steps their places correlate as the numbers do.
        values = predictions.reshape(-1) if predictions.size == len(labels) else predictions.argmax(axis=1)
        return _correlation(name, values, labels)
    if name in WORDS:
        return _words(name, predictions, labels)
    raise KdbenchError(f"metric {name} is unknown; choose among {', '.join(CLASSIFICATION + REGRESSION + WORDS)}")


def _classification(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    classes = logits.argmax(axis=1)
    if name == "accuracy":
        return float(accuracy_score(labels, classes))
    if name == "matthews":
        return float(matthews_corrcoef(labels, classes))
    if name == "macro_f1":
        return float(f1_score(labels, classes, average="macro", zero_division=0.0))
    if logits.shape[1] != 2:
        raise KdbenchError(f"metric f1 is for two classes and there are {logits.shape[1]}: use macro_f1")
    return float(f1_score(labels, classes, average="binary", pos_label=1, zero_division=0.0))


def _words(name: str, predictions: np.ndarray, words: np.ndarray) -> float:
    told, surprise = predictions[:, 0], predictions[:, 1].astype(np.float64)
    return float((told == words).mean()) if name == "masked_accuracy" else float(np.exp(surprise.mean()))


def _correlation(name: str, values: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr, spearmanr

    if np.ptp(values) == 0.0 or np.ptp(labels) == 0.0:
        return 0.0
    correlate = pearsonr if name == "pearson" else spearmanr
    return float(correlate(values.astype(np.float64), labels.astype(np.float64)).statistic)
