"""What a score is worth: worked by hand, or against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from electra.scores import metrics
from electra.scores import statistics as spread


def test_a_summary_of_runs_by_hand() -> None:
    summary = spread.summarize([0.5, 0.55, 0.4, 0.95, 0.6])
    assert (summary.n, summary.median, summary.max) == (5, 0.55, 0.95)
    assert summary.mean == pytest.approx(0.6, abs=1e-15)
    assert summary.sd == pytest.approx(math.sqrt((0.01 + 0.0025 + 0.04 + 0.1225 + 0) / 4), abs=1e-12)
    assert summary.low is not None
    assert summary.high is not None
    assert 0.4 < summary.low < summary.mean < summary.high < 0.95


def test_a_single_run_has_no_spread() -> None:
    assert spread.summarize([0.7]) == spread.Summary(1, 0.7, None, 0.7, 0.7, None, None)


def test_no_runs_are_no_summary() -> None:
    with pytest.raises(ValueError, match="expected at least one run"):
        spread.summarize([])


def test_the_bootstrap_interval_is_that_of_scipy_and_repeats() -> None:
    values = np.random.default_rng(17).normal(size=211)
    low, high = spread.bootstrap_interval(lambda rows: float(values[rows].mean()), 211, seed=3)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9_999, rng=1)
    # The standard error of a 2.5 % quantile of 10,000 draws is sqrt(.025 x .975 / 10,000) / density: < 0.003.
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)
    assert (low, high) == spread.bootstrap_interval(lambda rows: float(values[rows].mean()), 211, seed=3)


def test_the_interval_of_a_summary_is_the_bootstrap_interval_of_the_mean() -> None:
    values = np.random.default_rng(23).normal(size=7)
    summary = spread.summarize([*values], seed=5)
    assert (summary.low, summary.high) == spread.bootstrap_interval(lambda rows: float(values[rows].mean()), 7, seed=5)


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(19)
    covered = 0
    for seed in range(200):
        sample = random.normal(size=60)

        def mean(rows: metrics.Array, sample: metrics.Array = sample) -> float:
            return float(sample[rows].mean())

        low, high = spread.bootstrap_interval(mean, 60, seed=seed, num_resamples=400)
        covered += low < 0 < high
    # 200 draws at about 0.94 have a standard deviation of 3.4; below 170 happens once in 10^6.
    assert 170 <= covered < 200


def test_the_comparison_over_seeds_is_the_paired_t_test() -> None:
    first, second = [0.50, 0.52, 0.49, 0.55, 0.51], [0.54, 0.53, 0.52, 0.60, 0.50]
    found = spread.compare_over_seeds(first, second)
    assert found.difference == pytest.approx(0.024, abs=1e-12)
    assert found.p_value == pytest.approx(float(stats.ttest_rel(second, first).pvalue), abs=1e-12)
    assert found.low < found.difference < found.high
    assert found.n == 5


def test_differences_without_spread_are_certain() -> None:
    assert spread.compare_over_seeds([0.5, 0.25], [0.5, 0.25]).p_value == 1.0
    assert spread.compare_over_seeds([0.5, 0.25], [0.75, 0.5]).p_value == 0.0


@pytest.mark.parametrize(("first", "second"), [([0.5], [0.6]), ([0.5, 0.6], [0.5, 0.6, 0.7])])
def test_a_comparison_needs_the_same_seeds_of_both_models(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="expected the same seeds, two or more"):
        spread.compare_over_seeds(first, second)


def test_the_comparison_over_examples_is_mcnemars_test_for_accuracy() -> None:
    labels = np.zeros(40, int)
    first, second = np.zeros((2, 1, 40), int)
    first[0, :12] = 1  # wrong on 12 rows, of which the second model has 10 right
    second[0, 10:15] = 1  # wrong on 5, of which the first has 3 right
    found = spread.compare_over_examples(metrics.accuracy, labels, first, second, num_resamples=4_000)
    exact = float(stats.binomtest(10, 13).pvalue)  # 10 against 3 among the 13 rows they differ on
    assert found.difference == pytest.approx(7 / 40, abs=1e-15)
    # The permutation test's p from 4,000 draws has a standard error below 0.006 here.
    assert found.p_value == pytest.approx(exact, abs=0.025)
    half_width = 1.96 * math.sqrt((13 / 40 - (7 / 40) ** 2) / 40)  # normal approximation; steps of 1/40
    assert (found.low, found.high) == pytest.approx((7 / 40 - half_width, 7 / 40 + half_width), abs=1.1 / 40)


def test_the_comparison_over_examples_pairs_predictions_with_their_own_labels() -> None:
    labels = np.arange(30) % 2
    perfect, inverted = labels[None, :], 1 - labels[None, :]
    found = spread.compare_over_examples(metrics.matthews, labels, inverted, perfect, num_resamples=200)
    assert (found.difference, found.low, found.high) == pytest.approx((2, 2, 2))
    assert found.p_value < 0.02


def test_models_that_say_the_same_do_not_differ() -> None:
    labels = np.arange(30) % 2
    runs = np.stack([labels, 1 - labels])
    found = spread.compare_over_examples(metrics.f1, labels, runs, runs, num_resamples=100)
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_predictions_of_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected both models' predictions as \(seeds, 5\)"):
        spread.compare_over_examples(metrics.f1, np.ones(5), np.ones((2, 5)), np.ones((2, 4)))
