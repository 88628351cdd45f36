"""What scores are worth: their spread over runs, bootstrap intervals, paired tests of two models.

scipy tests; it is imported where it is used, since most commands need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from electra.scores.metrics import Metric
from electra.seeding import generator

Array = npt.NDArray[Any]

CONFIDENCE = 0.95
"""Share of the bootstrap distribution that a reported interval covers."""


class Summary(NamedTuple):
    """The spread of one score over runs. `sd` and the interval are None for a single run."""

    n: int
    mean: float
    sd: float | None  # of the sample: divided by n - 1
    median: float
    max: float
    low: float | None  # bootstrap interval of the mean
    high: float | None


def _middle(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Callable[[Array], float], num_units: int, *, seed: int = 0, num_resamples: int = 10_000
) -> tuple[float, float]:
    """The percentile bootstrap interval, at `CONFIDENCE`, of a statistic of `num_units` independent units.

    Args:
        statistic: from the (num_units,) int64 indices of one resample, drawn with replacement, to its value.
            Units must be independent: documents or runs, not the tokens of one document.
    """
    random = generator(seed, "bootstrap")
    return _middle(np.array([statistic(random.integers(0, num_units, num_units)) for _ in range(num_resamples)]))


def _interval_of_mean(runs: Array, seed: int, num_resamples: int = 10_000) -> tuple[float, float]:
    """`bootstrap_interval` of the mean of a few runs, all resamples at once."""
    return _middle(runs[generator(seed, "bootstrap").integers(0, len(runs), (num_resamples, len(runs)))].mean(axis=1))


def summarize(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Mean, sample standard deviation, median, maximum and interval of the mean, over runs."""
    if not len(values):
        raise ValueError("summary: expected at least one run, found none; run a seed first")
    runs = np.asarray(values, np.float64)
    sd, low, high = None, None, None
    if len(runs) > 1:
        sd = float(runs.std(ddof=1))
        low, high = _interval_of_mean(runs, seed)
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

    if not len(values):
        raise ValueError("interval: expected at least one run, found none; run a seed first")
    runs = np.asarray(values, np.float64)
    if len(runs) == 1:
        return Interval(1, float(runs[0]), None, None)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(runs) - 1) * runs.std(ddof=1) / np.sqrt(len(runs)))
    return Interval(len(runs), float(runs.mean()), float(runs.mean()) - reach, float(runs.mean()) + reach)


class Comparison(NamedTuple):
    """How much better the second of two models is, and how sure that is."""

    n: int  # pairs: seeds, or examples
    difference: float  # second minus first
    low: float  # bootstrap interval of the difference
    high: float
    p_value: float  # two-sided, of no difference


def compare_over_seeds(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Comparison:
    """Paired t-test of two models' scores, entry k of both from seed k.

    Differences without any spread have no t: their p is 1 if they are 0, else 0.

    Raises:
        ValueError: the two differ in length, or hold fewer than two seeds.
    """
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise ValueError(
            f"comparison over seeds: expected the same seeds, two or more, of both models, "
            f"found {len(first)} and {len(second)}; run the missing ones"
        )
    gains = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    low, high = _interval_of_mean(gains, seed)
    p_value = float(gains[0] == 0) if (gains == gains[0]).all() else float(stats.ttest_1samp(gains, 0.0).pvalue)
    return Comparison(len(gains), float(gains.mean()), low, high, p_value)


def compare_over_examples(
    metric: Metric, labels: Array, first: Array, second: Array, *, seed: int = 0, num_resamples: int = 2_000
) -> Comparison:
    """Paired permutation test of a metric on the same examples: does it matter which model said what?

    Args:
        metric: of (N,) predictions and labels; averaged over the seeds.
        labels: (N,) gold classes or scores.
        first, second: (S, N) predictions of the two models, one row a seed.

    Raises:
        ValueError: the predictions are not of the same examples, or not of as many seeds.
    """
    from scipy import stats

    if first.shape != second.shape or first.ndim != 2 or first.shape[1:] != labels.shape:
        raise ValueError(
            f"comparison over examples: expected both models' predictions as (seeds, {len(labels)}), "
            f"found {first.shape} and {second.shape}; compare equally many runs on one dev file"
        )
    both = np.concatenate([first, second], axis=1)  # columns 0..N-1 are the first model's, N..2N-1 the second's

    def gain(old: Array, new: Array) -> float:
        gold = labels[old % len(labels)]
        return float(np.mean([metric(run[new], gold) - metric(run[old], gold) for run in both]))

    def resampled_gain(drawn: Array) -> float:
        return gain(drawn, drawn + len(labels))

    rows = np.arange(len(labels))
    low, high = bootstrap_interval(resampled_gain, len(rows), seed=seed, num_resamples=num_resamples)
    options: Any = {"permutation_type": "samples", "vectorized": False, "n_resamples": num_resamples}
    swaps = generator(seed, "bootstrap", 1)
    test = stats.permutation_test((rows, rows + len(rows)), gain, random_state=swaps, **options)
    return Comparison(len(rows), float(test.statistic), low, high, float(test.pvalue))
