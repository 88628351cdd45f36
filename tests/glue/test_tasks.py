"""The table of tasks: what it promises of every row, and the facts that are known from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from electra.glue.tasks import TASKS, find_task
from electra.scores.metrics import AVERAGES, METRICS

OFFICIAL_ROWS = {
    "cola": (8_551, 1_043, 1_063),
    "sst2": (67_349, 872, 1_821),
    "mrpc": (3_668, 408, 1_725),
    "stsb": (5_749, 1_500, 1_379),
    "qqp": (363_846, 40_430, 390_965),
    "mnli": (392_702, 9_815, 9_832, 9_796, 9_847, 1_104),
    "qnli": (104_743, 5_463, 5_463),
    "rte": (2_490, 277, 3_000),
    "wnli": (635, 71, 146),
}


def test_the_table_holds_the_nine_tasks_with_their_official_row_counts() -> None:
    counts = {name: tuple(file.num_rows[0] for file in task.splits.values()) for name, task in TASKS.items()}
    assert counts == OFFICIAL_ROWS


def test_epochs_and_swapped_pairs_are_the_releases() -> None:
    assert {name: task.num_epochs for name, task in TASKS.items() if task.num_epochs != 3} == {"stsb": 10, "rte": 10}
    assert {name for name, task in TASKS.items() if task.pair_swap} == {"mrpc", "stsb"}


def test_main_metrics_are_those_of_clarks_average() -> None:
    mains = {f"{task.name}.{task.main_metric}" for task in TASKS.values() if task.name != "wnli"}
    assert mains == {entry for term in AVERAGES["AVG"].terms for entry in term}


def test_every_entry_of_an_average_is_a_metric_that_its_task_yields() -> None:
    gold = np.array([0, 1, 1])
    for average in AVERAGES.values():
        for entry in {entry for term in average.terms for entry in term} - {"wnli.majority"}:
            task = TASKS[entry.split(".")[0]]
            scores = {name for split in task.dev_splits for name in task.scores(split, gold, gold)}
            assert entry.split(".")[1] in scores


@pytest.mark.parametrize("task", TASKS.values(), ids=str)
def test_a_row_of_the_table_is_consistent(task) -> None:
    assert set(task.metrics) <= set(METRICS)
    assert len(task.codes) == len(task.labels) == len(set(task.labels))
    assert task.num_outputs == (1 if task.is_regression else len(task.labels))
    assert task.splits.keys() == {"train", *task.dev_splits, *task.test_splits}


def test_classes_have_the_numbers_of_the_official_files() -> None:
    assert TASKS["mrpc"].labels[1] == "equivalent"  # the class of F1
    assert TASKS["qqp"].labels[1] == "duplicate"
    assert TASKS["rte"].labels == ("entailment", "not_entailment")
    assert TASKS["wnli"].labels == ("not_entailment", "entailment")  # in the file 1 is entailment
    assert TASKS["wnli"].codes == ("0", "1")


@pytest.mark.parametrize("written", ["stsb", "STS-B", "sts-b", "StsB"])
def test_a_task_is_found_however_people_write_it(written: str) -> None:
    assert find_task(written).name == "stsb"


def test_classes_are_the_largest_outputs_and_scores_go_back_to_the_files_unit_unclipped() -> None:
    assert TASKS["mnli"].predictions(np.array([[0.1, 0.3, 0.2], [5.0, -1.0, 2.0]])).tolist() == [1, 0]
    outputs = np.array([[-0.1], [0.5], [1.2]], np.float32)
    assert TASKS["stsb"].predictions(outputs) == pytest.approx([-0.5, 2.5, 6.0], abs=1e-6)


def test_training_targets_are_scores_in_zero_to_one_and_classes_as_they_are() -> None:
    assert TASKS["stsb"].targets(np.array([0.0, 2.5, 5.0])).tolist() == [0.0, 0.5, 1.0]
    assert TASKS["stsb"].targets(np.array([3.8])).dtype == np.float32
    assert TASKS["cola"].targets(np.array([1, 0])).tolist() == [1, 0]


def test_mnli_is_scored_apart_on_matched_and_mismatched() -> None:
    predictions, gold = np.array([0, 1, 2, 0]), np.array([0, 1, 2, 1])
    assert TASKS["mnli"].scores("dev_matched", predictions, gold) == {"accuracy_matched": 0.75}
    assert TASKS["mnli"].scores("dev_mismatched", predictions, gold) == {"accuracy_mismatched": 0.75}
