"""What each score is, worked by hand or against scipy, and what it is where the formula has no value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from electra.scores import metrics
from tests.helpers import oracles

PREDICTIONS = np.array([1, 1, 1, 0, 0, 1, 0])
LABELS = np.array([1, 0, 1, 1, 0, 1, 0])
# By hand: 3 true positives, 1 false positive, 1 false negative, 2 true negatives.


def test_accuracy_is_the_share_of_equal_rows() -> None:
    assert metrics.accuracy(PREDICTIONS, LABELS) == 5 / 7


def test_f1_is_that_of_class_one_and_zero_when_nothing_is_positive() -> None:
    assert metrics.f1(PREDICTIONS, LABELS) == 2 * 3 / (2 * 3 + 1 + 1)
    assert metrics.f1(1 - PREDICTIONS, 1 - LABELS) == 2 * 2 / (2 * 2 + 1 + 1)  # of class 0: another number
    nothing = np.zeros(5, int)
    assert metrics.f1(nothing, nothing) == 0.0
    assert metrics.f1(nothing, np.array([0, 1, 0, 1, 0])) == 0.0


def test_matthews_equals_its_definition_for_two_and_three_classes() -> None:
    random = np.random.default_rng(5)
    for num_classes in (2, 3):
        predictions, labels = random.integers(0, num_classes, (2, 101))
        expected = oracles.matthews_by_counting(predictions.tolist(), labels.tolist())
        assert metrics.matthews(predictions, labels) == pytest.approx(expected, abs=1e-12)


def test_matthews_of_a_constant_is_zero() -> None:
    assert metrics.matthews(np.zeros(7, int), LABELS) == metrics.matthews(LABELS, np.ones(7, int)) == 0.0


def test_pearson_and_spearman_by_hand() -> None:
    scores, targets = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 10.0])
    # centred: (-1.5, -.5, .5, 1.5) and (-3, -1, -2, 6); products 4.5 + .5 - 1 + 9 = 13; squares 5 and 50
    assert metrics.pearson(scores, targets) == pytest.approx(13 / math.sqrt(5 * 50), abs=1e-15)
    # ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15)
    assert metrics.spearman(scores, targets) == pytest.approx(0.8, abs=1e-15)


def test_spearman_gives_ties_their_average_rank() -> None:
    random = np.random.default_rng(7)
    scores, targets = random.integers(0, 5, (2, 97)).astype(float)
    expected = oracles.pearson_by_loops(oracles.ranks_by_counting(scores), oracles.ranks_by_counting(targets))
    assert metrics.spearman(scores, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("correlation", [metrics.pearson, metrics.spearman])
@pytest.mark.parametrize("scores", [np.full(3, 0.3), np.array([0.0, np.nan, 2.0])])
def test_a_correlation_with_a_constant_or_with_a_number_that_is_none_is_zero(correlation, scores):
    assert correlation(scores, np.arange(3.0)) == 0.0
    assert correlation(np.arange(3.0), np.full(3, 3.0)) == 0.0


def test_roc_auc_counts_the_pairs_that_are_in_order() -> None:
    random = np.random.default_rng(13)
    scores, labels = random.integers(0, 7, 61).astype(float), random.integers(0, 2, 61)
    assert metrics.roc_auc(scores, labels) == pytest.approx(oracles.auc_by_pairs(scores, labels), abs=1e-12)


def test_roc_auc_is_a_half_when_scores_say_nothing_or_a_class_is_missing() -> None:
    assert metrics.roc_auc(np.zeros(6), np.array([0, 1, 0, 1, 1, 1])) == 0.5
    assert metrics.roc_auc(np.arange(6.0), np.ones(6, int)) == 0.5
    assert metrics.roc_auc(np.arange(6.0), np.zeros(6, int)) == 0.5


def test_detection_scores_by_hand() -> None:
    logits = np.array([2.0, -1.0, 0.5, 0.25, -3.0, 0.0, -2.0])
    is_replaced = np.array([True, True, False, False, False, False, False])
    scores = metrics.detection(logits, is_replaced)
    assert scores["disc_accuracy"] == 4 / 7  # 0.5 and 0.25 are wrong calls, -1.0 a missed one, 0.0 is no call
    assert scores["disc_precision"] == 1 / 3
    assert scores["disc_recall"] == 1 / 2
    assert scores["disc_auc"] == 7 / 10  # pairs in order: 2.0 over all five, -1.0 over -3.0 and -2.0
    assert scores["replaced_fraction"] == 2 / 7


def test_detection_without_calls_or_replaced_tokens_is_zero_not_nan() -> None:
    scores = metrics.detection(np.full(3, -1.0), np.zeros(3, bool))
    assert (scores["disc_precision"], scores["disc_recall"], scores["disc_accuracy"]) == (0.0, 0.0, 1.0)


def test_one_class_for_every_row_or_outputs_that_hardly_differ_are_a_failed_run() -> None:
    assert metrics.is_failed(np.ones(7, int), LABELS, is_regression=False)
    assert not metrics.is_failed(PREDICTIONS, LABELS, is_regression=False)

    gold = np.linspace(0, 1, 101)
    assert metrics.is_failed(0.5 + 0.009 * gold, gold, is_regression=True)
    assert not metrics.is_failed(0.5 + 0.011 * gold, gold, is_regression=True)
    assert metrics.is_failed(np.full(101, np.nan), gold, is_regression=True)


# BERT-Large's row of the public leaderboard, published as 80.5.
BERT_LARGE = {
    "cola.matthews": 60.5, "sst2.accuracy": 94.9, "mrpc.f1": 89.3, "mrpc.accuracy": 85.4,
    "stsb.pearson": 87.6, "stsb.spearman": 86.5, "qqp.f1": 72.1, "qqp.accuracy": 89.3,
    "mnli.accuracy_matched": 86.7, "mnli.accuracy_mismatched": 85.9, "qnli.accuracy": 92.7,
    "rte.accuracy": 70.1, "wnli.accuracy": 65.1,
}  # fmt: skip


def test_glue_is_the_mean_of_nine_tasks_with_two_metrics_averaged_first() -> None:
    assert round(metrics.AVERAGES["GLUE"].of(BERT_LARGE), 2) == 80.52


def test_glue_star_puts_the_majority_rate_in_place_of_wnli() -> None:
    fractions = {name: value / 100 for name, value in BERT_LARGE.items()} | {"wnli.majority": metrics.WNLI_MAJORITY}
    expected = (9 * 0.8051667 - 0.651 + 0.5634) / 9
    assert metrics.AVERAGES["GLUE*"].of(fractions) == pytest.approx(expected, abs=1e-4)
    assert round(100 * metrics.WNLI_MAJORITY, 2) == 56.34


def test_avg_is_clarks_mean_of_eight_single_metrics() -> None:
    official_small = {
        "cola.matthews": 56.8, "sst2.accuracy": 88.3, "mrpc.accuracy": 87.4, "stsb.spearman": 86.8,
        "qqp.accuracy": 88.3, "mnli.accuracy_matched": 78.9, "qnli.accuracy": 87.9, "rte.accuracy": 68.5,
    }  # fmt: skip
    assert round(metrics.AVERAGES["AVG"].of(official_small), 2) == 80.36


def test_an_average_names_every_entry_and_what_is_missing() -> None:
    assert metrics.AVERAGES["GLUE*"].formula == (
        "mean of 9: cola.matthews, sst2.accuracy, qnli.accuracy, rte.accuracy, mean(mrpc.f1, mrpc.accuracy), "
        "mean(stsb.pearson, stsb.spearman), mean(qqp.f1, qqp.accuracy), "
        "mean(mnli.accuracy_matched, mnli.accuracy_mismatched), wnli.majority"
    )
    assert metrics.AVERAGES["AVG"].formula.startswith("mean of 8: cola.matthews")
    partial = {name: 0.5 for name in BERT_LARGE if not name.startswith(("mnli", "wnli"))}
    assert metrics.AVERAGES["GLUE"].missing(partial) == ["mnli", "wnli"]
    assert metrics.AVERAGES["GLUE*"].missing(partial | {"wnli.majority": 0.5}) == ["mnli"]
