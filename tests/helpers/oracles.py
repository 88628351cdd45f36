"""Slow, obvious re-implementations that tests compare the package with."""

from __future__ import annotations

from collections.abc import Iterable


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
    below = (total**2 - sum(n**2 for n in predicted.values())) * (total**2 - sum(n**2 for n in actual.values()))
    return above / below**0.5 if below else 0.0


def ranks_by_counting(values: Iterable[float]) -> list[float]:
    """Rank from 1: how many are smaller, plus half of how many others are equal, plus one."""
    values = list(values)
    return [sum(other < v for other in values) + (sum(other == v for other in values) + 1) / 2 for v in values]


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


def merged(ids: list[int], left: int, right: int, new: int) -> list[int]:
    """A chunk with every `left right` from the left replaced by `new`."""
    result: list[int] = []
    for token in ids:
        if result and result[-1] == left and token == right:
            result[-1] = new
        else:
            result.append(token)
    return result


def merges_by_recounting(
    chunks: dict[bytes, int], byte_ids: dict[int, int], num_merges: int, min_count: int, first_id: int
) -> list[tuple[int, int]]:
    """Learn merges as the definition says: count all pairs anew, take the best, replace it everywhere, again."""
    words = [([byte_ids[byte] for byte in chunk], count) for chunk, count in chunks.items()]
    merges: list[tuple[int, int]] = []
    while len(merges) < num_merges:
        counts: dict[tuple[int, int], int] = {}
        for ids, count in words:
            for pair in zip(ids, ids[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + count
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < min_count:
            break
        words = [(merged(ids, *best, first_id + len(merges)), count) for ids, count in words]
        merges.append(best)
    return merges


def encode_pair_by_pair(
    chunk: bytes, byte_ids: dict[int, int], merges: list[tuple[int, int]], first_id: int
) -> list[int]:
    """Apply merges as the definition says: while any pair can be merged, merge the one learned first."""
    ids = [byte_ids[byte] for byte in chunk]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        present = [pair for pair in zip(ids, ids[1:], strict=False) if pair in ranks]
        if not present:
            return ids
        best = min(present, key=ranks.__getitem__)
        ids = merged(ids, *best, first_id + ranks[best])
