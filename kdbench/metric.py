"""Scores of predictions: GLUE's metrics, from scikit-learn and SciPy. Higher is better for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdbench.error import KdbenchError

CLASSIFICATION = ("accuracy", "f1", "macro_f1", "matthews")
REGRESSION = ("pearson", "spearman")


def score(names: Sequence[str], predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Score the labelled rows by each named metric.

    predictions: (N, C) logits for class ids, (N,) or (N, 1) values for a regression. labels: (N,) class ids with -1
    for none, or floats with NaN for none. Where a metric is undefined because all predictions or all labels are equal,
    it is 0.0, the value of a guess. No labelled rows, an unknown name and predictions that are not finite are refused.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if len(predictions) != len(labels):
        raise KdbenchError(f"there are {len(predictions)} predictions for {len(labels)} rows: predict the same split")
    kept = ~np.isnan(labels) if np.issubdtype(labels.dtype, np.floating) else labels >= 0
    if not kept.any():
        raise KdbenchError("no row has a label, so there is nothing to score: choose a labelled split")
    predictions, labels = predictions[kept], labels[kept]
    if not np.isfinite(predictions).all():
        raise KdbenchError("the predictions hold NaN or infinity: the model has diverged, so lower optimizer.lr")
    return {name: _one(name, predictions, labels) for name in names}


def _one(name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    if name in CLASSIFICATION:
        if predictions.ndim != 2 or predictions.shape[1] < 2:
            raise KdbenchError(f"metric {name} needs logits of two or more classes; a regression has pearson, spearman")
        return _classification(name, predictions, labels)
    if name in REGRESSION:
        if predictions.size != len(labels):
            raise KdbenchError(f"metric {name} needs one value a row and there are {predictions.shape[1]}")
        return _correlation(name, predictions.reshape(-1), labels)
    raise KdbenchError(f"metric {name} is unknown; choose among {', '.join(CLASSIFICATION + REGRESSION)}")


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


def _correlation(name: str, values: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import pearsonr, spearmanr

    if np.ptp(values) == 0.0 or np.ptp(labels) == 0.0:
        return 0.0
    correlate = pearsonr if name == "pearson" else spearmanr
    return float(correlate(values.astype(np.float64), labels.astype(np.float64)).statistic)
