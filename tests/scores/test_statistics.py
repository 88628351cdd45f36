"""What a score is worth: worked by hand, or against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from electra.scores import statistics as spread
from electra.seeding import random_stream


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


def test_the_bootstrap_interval_of_documents_is_that_of_scipy() -> None:
    values = np.random.default_rng(17).normal(size=211)
    low, high = spread.bootstrap_interval(lambda rows: float(np.median(values[rows])), 211, seed=3, num_resamples=997)
    options = {"method": "percentile", "n_resamples": 997, "rng": random_stream(3, "bootstrap")}
    theirs = stats.bootstrap((values,), np.median, **options).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=1e-15)


def test_the_interval_of_a_summary_is_the_bootstrap_interval_of_the_mean() -> None:
    values = np.random.default_rng(23).normal(size=7)
    summary = spread.summarize([*values], seed=5)
    ours = spread.bootstrap_interval(lambda rows: float(values[rows].mean()), 7, seed=5)
    assert (summary.low, summary.high) == pytest.approx(ours, abs=1e-15)
