"""The spread of scores over runs, and intervals of a mean. SciPy is imported where used, as in `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from electra.scores.metrics import Array
from electra.seeding import random_stream

CONFIDENCE = 0.95
"""The level of every interval."""
NUM_RESAMPLES = 10_000


class Summary(NamedTuple):
    """The spread of one score over runs. `sd` and the interval are None for a single run."""

    n: int
    mean: float
    sd: float | None  # sample standard deviation, with divisor n - 1
    median: float
    max: float
    low: float | None  # bootstrap interval of the mean
    high: float | None


def bootstrap_interval(
    statistic: Callable[[Array], float], num_units: int, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Return the percentile bootstrap interval, at `CONFIDENCE`, of a statistic of `num_units` independent units.

    Args:
        statistic: maps the (num_units,) int64 indices of one resample, drawn with replacement, to a value.
            Documents and runs are independent units; the tokens of one document are not.
    """
    rng = random_stream(seed, "bootstrap")
    values = [statistic(rng.integers(0, num_units, num_units)) for _ in range(num_resamples)]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def summarize(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Return the `Summary` of one or more values, each the score of one run."""
    from scipy import stats

    runs = np.asarray(values, np.float64)
    sd, low, high = None, None, None
    if len(runs) > 1:
        sd = float(runs.std(ddof=1))
        options = {"n_resamples": NUM_RESAMPLES, "confidence_level": CONFIDENCE, "method": "percentile"}
        found = stats.bootstrap((runs,), np.mean, rng=random_stream(seed, "bootstrap"), **options)
        low, high = map(float, found.confidence_interval)
    return Summary(len(runs), float(runs.mean()), sd, float(np.median(runs)), float(runs.max()), low, high)


class Interval(NamedTuple):
    """The mean of a few runs, or of a few paired differences, with its confidence interval."""

    n: int
    mean: float
    low: float | None  # None for a single run
    high: float | None


def t_interval(values: Sequence[float]) -> Interval:
    """Return Student's t interval of the mean, at `CONFIDENCE`; for few runs a bootstrap interval is too narrow."""
    from scipy import stats

    runs = np.asarray(values, np.float64)
    n, mean = len(runs), float(runs.mean())
    if n == 1:
        return Interval(n, mean, None, None)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(runs))
    return Interval(n, mean, mean - reach, mean + reach)
