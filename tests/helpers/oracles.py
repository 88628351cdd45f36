"""Slow, obvious re-implementations that tests compare the package with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

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


# --- the model --------------------------------------------------------------------------------------------


def layer_norm_by_hand(x: list[float], gain: list[float], bias: list[float]) -> list[float]:
    """LayerNorm of one vector, with the release's epsilon."""
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return [(v - mean) / math.sqrt(variance + 1e-12) * g + b for v, g, b in zip(x, gain, bias, strict=True)]


def dense_by_hand(x: list[float], weight: list[list[float]], bias: list[float]) -> list[float]:
    """One vector through a dense layer."""
    return [sum(a * w for a, w in zip(x, row, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def gelu_by_hand(x: list[float]) -> list[float]:
    """The exact GELU."""
    return [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]


def attention_by_hand(
    queries: list[list[float]], keys: list[list[float]], values: list[list[float]], is_real: list[bool]
) -> list[list[float]]:
    """One head of one row: softmax(q k / sqrt(size)) over real keys, times the values."""
    mixed = []
    for query in queries:
        scores = [sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in keys]
        weights = [math.exp(s) if real else 0.0 for s, real in zip(scores, is_real, strict=True)]
        total = sum(weights)
        mixed.append([sum(w / total * v[i] for w, v in zip(weights, values, strict=True)) for i in range(len(query))])
    return mixed


def transformer_layer_by_hand(
    rows: list[list[float]], weights: dict[str, Any], num_heads: int, is_real: list[bool]
) -> list[list[float]]:
    """One post-norm layer over one row, every product written out; `weights` is its state dict as lists."""
    width = len(rows[0])
    size = width // num_heads
    qkv = [dense_by_hand(x, weights["attention.qkv.weight"], weights["attention.qkv.bias"]) for x in rows]
    mixed: list[list[float]] = [[] for _ in rows]
    for head in range(num_heads):
        queries, keys, values = [
            [x[part * width + head * size : part * width + (head + 1) * size] for x in qkv] for part in range(3)
        ]
        for row, piece in zip(mixed, attention_by_hand(queries, keys, values, is_real), strict=True):
            row.extend(piece)
    out = []
    for x, attended in zip(rows, mixed, strict=True):
        attended = dense_by_hand(attended, weights["attention.out.weight"], weights["attention.out.bias"])
        summed = [a + b for a, b in zip(x, attended, strict=True)]
        x = layer_norm_by_hand(summed, weights["attention_norm.weight"], weights["attention_norm.bias"])
        inner = gelu_by_hand(dense_by_hand(x, weights["feed_forward.inner.weight"], weights["feed_forward.inner.bias"]))
        outer = dense_by_hand(inner, weights["feed_forward.outer.weight"], weights["feed_forward.outer.bias"])
        summed = [a + b for a, b in zip(x, outer, strict=True)]
        out.append(layer_norm_by_hand(summed, weights["feed_forward_norm.weight"], weights["feed_forward_norm.bias"]))
    return out


# --- tokenizer and data -----------------------------------------------------------------------------------


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
