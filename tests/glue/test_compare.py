"""Two results folders against each other: which runs are paired, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.files import FormatError
from electra.glue.compare import compare_results, comparison_table
from electra.glue.predictions import Predictions, write_predictions
from electra.glue.results import append_result
from electra.glue.tasks import TASKS
from electra.scores.metrics import matthews

GOLD = np.arange(60) % 2


def write_run(folder: Path, task: str, seed: int, values: np.ndarray, **changes: Any) -> None:
    """A run of a task with two classes and 60 dev rows, or more with STS-B, as train_glue.py leaves it."""
    split = TASKS[task].dev_splits[0]
    file = f"predictions/{task}-{seed}.tsv"
    gold = np.linspace(0, 5, 60) if TASKS[task].is_regression else GOLD
    write_predictions(folder / file, TASKS[task], Predictions(values, gold), np.zeros((60, 1)))
    record = {
        "run_id": f"{task}{seed}", "protocol_id": "p", "task": task, "seed": seed, "labels": TASKS[task].labels,
        "metrics": TASKS[task].scores(split, values, gold), "main_metric": TASKS[task].main_metric, "failed": False,
        "data": {"train": {"sha256": "t"}, split: {"sha256": "d"}}, "predictions": {split: file},
    }  # fmt: skip
    append_result(folder, {**record, **changes})


def with_errors(*rows: int) -> np.ndarray:
    values = GOLD.copy()
    values[list(rows)] = 1 - values[list(rows)]
    return values


def test_runs_are_paired_by_task_and_seed_and_differences_are_second_minus_first(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for seed in (0, 1, 2):
        write_run(first, "cola", seed, with_errors(*range(12 + seed)))
        write_run(second, "cola", seed + 1, with_errors(seed, 20))  # seeds 1, 2, 3
    write_run(first, "rte", 0, with_errors(3))  # not in the second
    (found,) = compare_results(first, second, num_resamples=300)
    assert (found.task, found.metric, found.seeds) == ("cola", "matthews", [1, 2])
    scores_first = [matthews(with_errors(*range(12 + seed)), GOLD) for seed in (1, 2)]
    scores_second = [matthews(with_errors(seed, 20), GOLD) for seed in (0, 1)]
    expected = float(np.mean(scores_second) - np.mean(scores_first))
    assert expected > 0
    assert found.over_seeds is not None
    assert found.over_seeds.difference == pytest.approx(expected, abs=1e-12)
    assert found.over_examples.difference == pytest.approx(expected, abs=1e-12)
    assert (found.over_seeds.n, found.over_examples.n) == (2, 60)
    assert found.over_examples.p_value < 0.05


def test_one_common_seed_is_compared_over_examples_only(tmp_path: Path) -> None:
    for name, values in (("a", with_errors(1, 3, 5)), ("b", with_errors(1))):
        write_run(tmp_path / name, "mnli", 4, values)
    (found,) = compare_results(tmp_path / "a", tmp_path / "b", num_resamples=100)
    assert (found.metric, found.over_seeds) == ("accuracy_matched", None)
    assert found.over_examples.difference == pytest.approx(2 / 60)
    text = comparison_table([found])
    assert "mnli accuracy_matched" in text
    assert "1 seeds  one seed  |  +3.33 [" in text


def test_scores_are_compared_by_their_own_metric(tmp_path: Path) -> None:
    gold = np.linspace(0, 5, 60)
    for name, values in (("a", gold[::-1].copy()), ("b", gold**2)):
        write_run(tmp_path / name, "stsb", 0, values)
    (found,) = compare_results(tmp_path / "a", tmp_path / "b", num_resamples=50)
    assert found.metric == "spearman"
    assert found.over_examples.difference == pytest.approx(2.0)


def test_the_table_says_points_interval_and_p(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "a", "rte", seed, with_errors(0, 1, 2 + seed))
        write_run(tmp_path / "b", "rte", seed, with_errors(0, 1, 2 + seed))
    title, line = comparison_table(compare_results(tmp_path / "a", tmp_path / "b", num_resamples=50)).split("\n")
    assert title.startswith("second minus first, in points")
    assert line == "rte accuracy            2 seeds  +0.00 [+0.00, +0.00] p 1.000  |  +0.00 [+0.00, +0.00] p 1.000"


@pytest.mark.parametrize("kind", ["nothing in common", "two protocols", "another dev file", "no results"])
def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_run(first, "rte", 0, with_errors(1))
    if kind == "nothing in common":
        write_run(second, "rte", 1, with_errors(1))
        message = "expected runs of one task with one seed in both, found none"
    elif kind == "two protocols":
        write_run(first, "cola", 0, with_errors(1), protocol_id="q")
        message = "a: expected the runs of one protocol, found 2"
    elif kind == "another dev file":
        write_run(second, "rte", 0, with_errors(1), data={"dev": {"sha256": "e"}})
        message = "expected one dev file of rte, found several"
    else:
        message = "b: expected the runs of one protocol, found 0"
    with pytest.raises(ValueError, match=message):
        compare_results(first, second)


def test_a_prediction_file_that_was_changed_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, "rte", 0, with_errors(1))
    path = tmp_path / "b" / "predictions" / "rte-0.tsv"
    path.write_text(path.read_text().replace("not_entailment", "maybe"))
    with pytest.raises(FormatError, match=r"rte-0.tsv: expected entailment or not_entailment, found 'maybe'"):
        compare_results(tmp_path / "a", tmp_path / "b")
