"""Is one model better than another? Paired tests over seeds and over examples, from two results folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from electra.glue.predictions import read_predictions
from electra.glue.results import Record, read_results
from electra.scores.metrics import METRICS
from electra.scores.statistics import Comparison, compare_over_examples, compare_over_seeds

Array = npt.NDArray[Any]


class TaskComparison(NamedTuple):
    """The second model against the first on the main metric of one task."""

    task: str
    metric: str
    seeds: list[int]  # that both have; only these are compared
    over_seeds: Comparison | None  # None with fewer than two of them
    over_examples: Comparison


def compare_results(first: Path, second: Path, *, num_resamples: int = 2_000) -> list[TaskComparison]:
    """Compare two results folders on every task that both have runs of.

    Args:
        num_resamples: of the permutation test and the bootstrap over examples.

    Raises:
        ValueError: a folder holds runs of more than one protocol, the two have no task and seed in common, or their
            dev files differ.
    """
    sides = [_runs(folder) for folder in (first, second)]
    tasks = dict.fromkeys(task for task, _ in sides[0] if any(task == other for other, _ in sides[1]))
    seeds = {task: [seed for name, seed in sides[0] if name == task and (task, seed) in sides[1]] for task in tasks}
    if not any(seeds.values()):
        raise ValueError(f"{first} and {second}: expected runs of one task with one seed in both, found none; "
                         "run the same command for both")  # fmt: skip
    return [
        _compare_task(
            [[sides[0][task, seed] for seed in common], [sides[1][task, seed] for seed in common]],
            (first, second),
            num_resamples,
        )
        for task, common in seeds.items()
        if common
    ]


def _runs(folder: Path) -> dict[tuple[str, int], Record]:
    records = read_results(folder)
    protocols = {record["protocol_id"] for record in records}
    if len(protocols) != 1:
        raise ValueError(f"{folder}: expected the runs of one protocol, found {len(protocols)}; "
                         "keep each in a folder of its own (train_glue.py --out)")  # fmt: skip
    return {(record["task"], record["seed"]): record for record in records}


def _compare_task(sides: Sequence[Sequence[Record]], folders: Sequence[Path], num_resamples: int) -> TaskComparison:
    run = sides[0][0]
    task, metric = run["task"], run["main_metric"]
    split = next(split for split in run["predictions"] if split.startswith("dev"))
    if any(record["data"][split]["sha256"] != run["data"][split]["sha256"] for side in sides for record in side):
        raise ValueError(f"{' and '.join(map(str, folders))}: expected one {split} file of {task}, found several; "
                         "compare runs that were scored on the same rows")  # fmt: skip
    scores = [[record["metrics"][metric] for record in side] for side in sides]
    predictions = [
        [read_predictions(folder / record["predictions"][split], run["labels"]) for record in side]
        for folder, side in zip(folders, sides, strict=True)
    ]
    values: list[Array] = [np.stack([run.values for run in side]) for side in predictions]
    labels = predictions[0][0].labels
    assert labels is not None  # a dev file has labels
    over_examples = compare_over_examples(
        METRICS[metric.removesuffix(split.removeprefix("dev"))], labels, *values, num_resamples=num_resamples
    )
    over_seeds = compare_over_seeds(*scores) if len(scores[0]) > 1 else None
    return TaskComparison(task, metric, [record["seed"] for record in sides[0]], over_seeds, over_examples)


def comparison_table(comparisons: Sequence[TaskComparison]) -> str:
    """Differences in points, second minus first, with intervals and p-values."""
    lines = ["second minus first, in points: difference [95 % interval] p, over seeds (paired t) | over examples"]
    for task, metric, seeds, over_seeds, over_examples in comparisons:
        cells = [_cell(over_seeds) if over_seeds else "one seed", _cell(over_examples)]
        lines.append(f"{task + ' ' + metric:<24}{len(seeds)} seeds  {'  |  '.join(cells)}")
    return "\n".join(lines)


def _cell(found: Comparison) -> str:
    return f"{100 * found.difference:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}] p {found.p_value:.3f}"
