"""Scores: metrics of tasks and of detection, and averages over tasks.

Every score is a fraction (0.87, not 87). Where a formula is undefined, the docstring states the score, never NaN.
SciPy is imported where used, because most commands do not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WNLI_MAJORITY = 40 / 71
"""Accuracy on the dev rows of WNLI if every answer is "not_entailment"; the term "wnli.majority" of GLUE*."""

FAILED_SPREAD = 0.01
"""A regression has failed if the standard deviation of its outputs is below this share of the labels' deviation."""


def accuracy(predictions: Array, labels: Array) -> float:
    """Return the share of the N places at which two (N,) arrays are equal."""
    return float(np.mean(predictions == labels))


def f1(predictions: Array, labels: Array) -> float:
    """Return F1 of class 1 for two (N,) arrays: the harmonic mean of precision and recall; 0 if no entry is 1."""
    positives = np.sum(predictions == 1) + np.sum(labels == 1)
    return float(2 * np.sum((predictions == 1) & (labels == 1)) / positives) if positives else 0.0


def matthews(predictions: Array, labels: Array) -> float:
    """Return the Matthews correlation of two (N,) arrays of two or more classes; 0 if either array is constant.

    Source: Gorodkin 2004; for two classes the value is that of Matthews' formula.
    """
    classes = np.union1d(predictions, labels)
    predicted = (predictions[:, None] == classes).astype(np.float64)
    actual = (labels[:, None] == classes).astype(np.float64)
    predicted -= predicted.mean(axis=0)
    actual -= actual.mean(axis=0)
    norm = np.sqrt(np.sum(predicted**2) * np.sum(actual**2))
    return float(np.sum(predicted * actual) / norm) if norm > 0 else 0.0


def pearson(scores: Array, targets: Array) -> float:
    """Return the linear correlation of two (N,) arrays; 0 if either is constant or has an entry that is not finite."""
    from scipy import stats

    scores, targets = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    if np.ptp(scores) == 0 or np.ptp(targets) == 0 or not np.isfinite(scores + targets).all():
        return 0.0
    return float(stats.pearsonr(scores, targets).statistic)


def spearman(scores: Array, targets: Array) -> float:
    """Return the correlation of the ranks of two (N,) arrays; ties get their average rank; 0 where `pearson` is 0."""
    from scipy import stats

    return pearson(stats.rankdata(scores), stats.rankdata(targets))


def roc_auc(scores: Array, labels: Array) -> float:
    """Return the chance that a random positive has a higher score than a random negative; a tie counts half.

    The value is exact, from ranks. It is 0.5 if one of the two classes is missing.

    Args:
        scores: (N,), higher means more likely positive.
        labels: (N,), true or 1 for a positive.
    """
    from scipy import stats

    is_positive = labels.astype(bool)
    num_positive = int(is_positive.sum())
    num_pairs = num_positive * (len(labels) - num_positive)
    if num_pairs == 0:
        return 0.5
    rank_sum = float(stats.rankdata(scores)[is_positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / num_pairs


def detection(logits: Array, is_replaced: Array) -> dict[str, float]:
    """Return the discriminator's metrics from (N,) logits and labels, without padding; a logit above 0 means detected.

    Precision is the share of replaced tokens among the detected ones, recall the share of detected tokens among the
    replaced ones. Each is 0 if its denominator is 0.
    Source: release run_pretraining.py:131-161, with an exact AUC instead of 200 thresholds.
    """
    is_replaced, is_detected = is_replaced.astype(bool), logits > 0
    num_right = np.sum(is_detected & is_replaced)
    return {
        "disc_accuracy": accuracy(is_detected, is_replaced),
        "disc_precision": float(num_right / max(1, is_detected.sum())),
        "disc_recall": float(num_right / max(1, is_replaced.sum())),
        "disc_auc": roc_auc(logits, is_replaced),
        "replaced_fraction": float(is_replaced.mean()),
    }


Metric = Callable[[Array, Array], float]
CLASS_METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "f1": f1, "matthews": matthews}
SCORE_METRICS: Mapping[str, Metric] = {"pearson": pearson, "spearman": spearman}
METRICS: Mapping[str, Metric] = {**CLASS_METRICS, **SCORE_METRICS}


def is_failed(predictions: Array, labels: Array, *, is_regression: bool) -> bool:
    """Whether a model ignores its input: one class for all N rows, or N scores that hardly differ or are not finite."""
    if is_regression:
        return not np.std(predictions) >= FAILED_SPREAD * np.std(labels)
    return bool(np.ptp(predictions) == 0)


_Terms = tuple[tuple[str, ...], ...]  # a term is the mean of its "task.metric" entries
_SHARED: _Terms = (("cola.matthews",), ("sst2.accuracy",), ("qnli.accuracy",), ("rte.accuracy",))
_AVG: _Terms = (("mrpc.accuracy",), ("stsb.spearman",), ("qqp.accuracy",), ("mnli.accuracy_matched",))
_TWO: _Terms = (("mrpc.f1", "mrpc.accuracy"), ("stsb.pearson", "stsb.spearman"), ("qqp.f1", "qqp.accuracy"))
_GLUE: _Terms = (*_TWO, ("mnli.accuracy_matched", "mnli.accuracy_mismatched"))


class Average(NamedTuple):
    """One way to average the scores of several tasks."""

    terms: _Terms

    @property
    def formula(self) -> str:
        """The formula of the average, as text."""
        parts = [term[0] if len(term) == 1 else f"mean({', '.join(term)})" for term in self.terms]
        return f"mean of {len(parts)}: {', '.join(parts)}"

    def missing(self, scores: Mapping[str, float]) -> list[str]:
        """Return the tasks that this average needs and `scores` does not have."""
        entries = [entry for term in self.terms for entry in term if entry not in scores]
        return sorted({entry.split(".")[0] for entry in entries})

    def of(self, scores: Mapping[str, float]) -> float:
        """Return the average of `scores`, which maps "task.metric" to a fraction and has every needed entry."""
        return float(np.mean([np.mean([scores[entry] for entry in term]) for term in self.terms]))


AVERAGES: Mapping[str, Average] = {
    "AVG": Average((*_SHARED, *_AVG)),
    "GLUE": Average((*_SHARED, *_GLUE, ("wnli.accuracy",))),
    "GLUE*": Average((*_SHARED, *_GLUE, ("wnli.majority",))),
}
"""AVG: eight tasks, as in Clark et al. 2020. GLUE: the benchmark's nine tasks. GLUE*: as in Mercier, WNLI constant."""
