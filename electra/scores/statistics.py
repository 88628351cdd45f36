"""The spread of scores over runs, and intervals of a mean.

scipy is imported where it is used, because most commands need none of it.
"""

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
    sd: float | None  # of the sample: divided by n - 1
    median: float
    max: float
    low: float | None  # bootstrap interval of the mean
    high: float | None


def bootstrap_interval(
    statistic: Callable[[Array], float], num_units: int, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """The percentile bootstrap interval, at `CONFIDENCE`, of a statistic of `num_units` independent units.

    Args:
        statistic: from the (num_units,) int64 indices of one resample, drawn with replacement, to its value.
            Units must be independent: documents or runs, not the tokens of one document.
    """
    random = random_stream(seed, "bootstrap")
    values = [statistic(random.integers(0, num_units, num_units)) for _ in range(num_resamples)]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def summarize(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Mean, sample standard deviation, median, maximum and interval of the mean, over runs.

    Raises:
        ValueError: there are no values.
    """
    from scipy import stats

    runs = _runs(values)
    sd, low, high = None, None, None
    if len(runs) > 1:
        sd = float(runs.std(ddof=1))
        options = {"n_resamples": NUM_RESAMPLES, "confidence_level": CONFIDENCE, "method": "percentile"}
        found = stats.bootstrap((runs,), np.mean, rng=random_stream(seed, "bootstrap"), **options)
        low, high = map(float, found.confidence_interval)
    return Summary(len(runs), float(runs.mean()), sd, float(np.median(runs)), float(runs.max()), low, high)


class Interval(NamedTuple):
    """The mean of a few runs, or of a few paired differences, and how far it may be off."""

    n: int
    mean: float
    low: float | None  # None for a single run
    high: float | None


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval of the mean, at `CONFIDENCE`: for few runs, where a bootstrap's is too narrow.

    Raises:
        ValueError: there are no values.
    """
    from scipy import stats

    runs = _runs(values)
    mean = float(runs.mean())
    if len(runs) == 1:
        return Interval(1, mean, None, None)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(runs) - 1) * stats.sem(runs))
    return Interval(len(runs), mean, mean - reach, mean + reach)


def _runs(values: Sequence[float]) -> Array:
    if not len(values):
        raise ValueError("summary: expected at least one run, found none; run a seed first")
    return np.asarray(values, np.float64)
