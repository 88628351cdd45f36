"""Scores: task metrics, detection metrics, averages over tasks.

Every score is a fraction (0.87, not 87). Every degenerate case has a stated value, never NaN.
scipy is imported where it is used, because most commands need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WNLI_MAJORITY = 40 / 71
"""Accuracy of always answering "not_entailment" on WNLI's dev rows: the constant of GLUE*."""

FAILED_SPREAD = 0.01
"""A regression whose outputs spread less than this share of the gold scores' spread has failed."""


def _check(predictions: Array, labels: Array) -> tuple[Array, Array]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(
            f"metric: expected as many predictions as labels, at least one, in one dimension, "
            f"found shapes {predictions.shape} and {labels.shape}; pass two equal rows of numbers"
        )
    return predictions, labels


def accuracy(predictions: Array, labels: Array) -> float:
    """Share of equal entries of two (N,) arrays."""
    predictions, labels = _check(predictions, labels)
    return float(np.mean(predictions == labels))


def f1(predictions: Array, labels: Array) -> float:
    """Harmonic mean of precision and recall of class 1, two (N,) arrays; 0 if neither holds a 1."""
    predictions, labels = _check(predictions, labels)
    positives = np.sum(predictions == 1) + np.sum(labels == 1)
    return float(2 * np.sum((predictions == 1) & (labels == 1)) / positives) if positives else 0.0


def matthews(predictions: Array, labels: Array) -> float:
    """Matthews correlation of two (N,) arrays of classes, for two or more classes; 0 if either is constant.

    Source: Gorodkin 2004, the covariance form, which for two classes is Matthews's own.
    """
    predictions, labels = _check(predictions, labels)
    classes = np.union1d(predictions, labels)
    predicted = (predictions[:, None] == classes).astype(np.float64)
    actual = (labels[:, None] == classes).astype(np.float64)
    predicted -= predicted.mean(axis=0)
    actual -= actual.mean(axis=0)
    norm = np.sqrt(np.sum(predicted**2) * np.sum(actual**2))
    return float(np.sum(predicted * actual) / norm) if norm > 0 else 0.0


def _is_constant(values: Array) -> bool:
    return bool(np.all(values == values[0]))


def pearson(scores: Array, targets: Array) -> float:
    """Linear correlation of two (N,) arrays; 0 if either is constant or not finite throughout."""
    from scipy import stats

    scores, targets = _check(np.asarray(scores, np.float64), np.asarray(targets, np.float64))
    if _is_constant(scores) or _is_constant(targets) or not np.isfinite(scores + targets).all():
        return 0.0
    return float(stats.pearsonr(scores, targets).statistic)


def spearman(scores: Array, targets: Array) -> float:
    """Linear correlation of the ranks of two (N,) arrays, ties by average rank; 0 as in `pearson`."""
    from scipy import stats

    scores, targets = _check(scores, targets)
    return pearson(stats.rankdata(scores), stats.rankdata(targets))


def roc_auc(scores: Array, labels: Array) -> float:
    """Chance that a random positive outscores a random negative, a tie counting half.

    Exact, from ranks. 0.5 when one of the two classes is missing: there is no pair to rank.

    Args:
        scores: (N,), higher means more likely positive.
        labels: (N,), true or 1 for a positive.
    """
    from scipy import stats

    scores, labels = _check(scores, labels)
    is_positive = labels.astype(bool)
    num_positive = int(is_positive.sum())
    num_pairs = num_positive * (len(labels) - num_positive)
    if num_pairs == 0:
        return 0.5
    rank_sum = float(stats.rankdata(scores)[is_positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / num_pairs


def detection(logits: Array, is_replaced: Array) -> dict[str, float]:
    """The discriminator's scores over (N,) real tokens: a token is called replaced if its logit is > 0.

    Precision (share of true calls among calls) and recall (share of replaced tokens called) are 0 when
    there is nothing to divide by.

    Source: release run_pretraining.py:131-161, with an exact area instead of 200 thresholds.
    """
    logits, is_replaced = _check(logits, np.asarray(is_replaced, bool))
    is_called = logits > 0
    num_right_calls = np.sum(is_called & is_replaced)
    return {
        "disc_accuracy": accuracy(is_called, is_replaced),
        "disc_precision": float(num_right_calls / max(1, is_called.sum())),
        "disc_recall": float(num_right_calls / max(1, is_replaced.sum())),
        "disc_auc": roc_auc(logits, is_replaced),
        "replaced_fraction": float(is_replaced.mean()),
    }


Metric = Callable[[Array, Array], float]
CLASS_METRICS: Mapping[str, Metric] = {"accuracy": accuracy, "f1": f1, "matthews": matthews}
SCORE_METRICS: Mapping[str, Metric] = {"pearson": pearson, "spearman": spearman}
METRICS: Mapping[str, Metric] = {**CLASS_METRICS, **SCORE_METRICS}


def is_failed(predictions: Array, labels: Array, *, is_regression: bool) -> bool:
    """Whether a model ignores its input: one class throughout, or outputs that hardly differ or are not finite."""
    predictions, labels = _check(predictions, labels)
    if is_regression:
        return not np.std(predictions) >= FAILED_SPREAD * np.std(labels)
    return _is_constant(predictions)


_Terms = tuple[tuple[str, ...], ...]  # a term is the mean of its "task.metric" entries
_SHARED: _Terms = (("cola.matthews",), ("sst2.accuracy",), ("qnli.accuracy",), ("rte.accuracy",))
_AVG: _Terms = (("mrpc.accuracy",), ("stsb.spearman",), ("qqp.accuracy",), ("mnli.accuracy_matched",))
_TWO: _Terms = (("mrpc.f1", "mrpc.accuracy"), ("stsb.pearson", "stsb.spearman"), ("qqp.f1", "qqp.accuracy"))
_GLUE: _Terms = (*_TWO, ("mnli.accuracy_matched", "mnli.accuracy_mismatched"))


class Average(NamedTuple):
    """One way to make one number of many tasks."""

    terms: _Terms
    constant: float | None = None  # a ninth term that no model is asked for

    @property
    def formula(self) -> str:
        """The average in words, as recorded beside its value."""
        parts = [term[0] if len(term) == 1 else f"mean({', '.join(term)})" for term in self.terms]
        parts += [] if self.constant is None else [f"wnli fixed at {self.constant:.4f}"]
        return f"mean of {len(parts)}: {', '.join(parts)}"

    def missing(self, scores: Mapping[str, float]) -> list[str]:
        """The tasks without which this average cannot be taken of `scores`."""
        entries = [entry for term in self.terms for entry in term if entry not in scores]
        return sorted({entry.split(".")[0] for entry in entries})

    def of(self, scores: Mapping[str, float]) -> float:
        """The average of `scores`, which maps "task.metric" to a fraction.

        Raises:
            ValueError: a task is missing; an average of fewer tasks would be another number.
        """
        if missing := self.missing(scores):
            raise ValueError(f"average: expected every task, found none of {', '.join(missing)}; run them first")
        values = [float(np.mean([scores[entry] for entry in term])) for term in self.terms]
        return float(np.mean(values + ([] if self.constant is None else [self.constant])))


AVERAGES: Mapping[str, Average] = {
    "AVG": Average((*_SHARED, *_AVG)),
    "GLUE": Average((*_SHARED, *_GLUE, ("wnli.accuracy",))),
    "GLUE*": Average((*_SHARED, *_GLUE), constant=WNLI_MAJORITY),
}
"""AVG: Clark et al. 2020, eight tasks. GLUE: the benchmark's nine. GLUE*: Mercier's, with WNLI constant."""
