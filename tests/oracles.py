"""Slow, obvious re-implementations that tests compare the package with."""

from __future__ import annotations

from collections.abc import Iterable

# --- metrics and GLUE -------------------------------------------------------------------------------------


def matthews_by_counting(predictions: list[int], labels: list[int]) -> float:
    """Gorodkin's k-category correlation from the confusion table, entry by entry."""
    classes = sorted({*predictions, *labels})
    table = {(p, t): 0 for p in classes for t in classes}
    for p, t in zip(predictions, labels, strict=True):
        table[p, t] += 1
    total, correct = len(labels), sum(table[c, c] for c in classes)
    predicted = {c: sum(table[c, t] for t in classes) for c in classes}
    actual = {c: sum(table[p, c] for p in classes) for c in classes}
    above = correct * total - sum(predicted[c] * actual[c] for c in classes)
    below = (total**2 - sum(n**2 for n in predicted.values())) * (
        total**2 - sum(n**2 for n in actual.values())
    )
    return above / below**0.5 if below else 0.0


def ranks_by_counting(values: Iterable[float]) -> list[float]:
    """Rank from 1: how many are smaller, plus half of how many others are equal, plus one."""
    values = list(values)
    return [
        sum(other < v for other in values) + (sum(other == v for other in values) + 1) / 2 for v in values
    ]


def pearson_by_loops(first: Iterable[float], second: Iterable[float]) -> float:
    """Covariance over the product of deviations."""
    first, second = list(first), list(second)
    mean_first, mean_second = sum(first) / len(first), sum(second) / len(second)
    covariance = sum((a - mean_first) * (b - mean_second) for a, b in zip(first, second, strict=True))
    squares = sum((a - mean_first) ** 2 for a in first) * sum((b - mean_second) ** 2 for b in second)
    return covariance / squares**0.5


def auc_by_pairs(scores: Iterable[float], labels: Iterable[float]) -> float:
    """Share of (positive, negative) pairs in order, ties counting half."""
    rows = list(zip(scores, labels, strict=True))
    pairs = [(a, b) for a, is_a in rows for b, is_b in rows if is_a and not is_b]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
