"""The GLUE tasks as a table; a new task is one row. Source: the official archives (GLUE-baselines, nyu-mll)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from electra.scores.metrics import METRICS, Array


class SplitFile(NamedTuple):
    """One file of a task."""

    path: str  # under the data folder, or absolute
    num_rows: tuple[int, ...] = ()  # allowed numbers of rows, several if releases differ; empty: any
    columns: tuple[str, ...] = ()  # names of the columns, for a file without a header line
    may_be_damaged: bool = False  # True: rows with a wrong number of columns are left out and counted


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: its files, its labels and its metrics."""

    name: str  # as on the command line
    title: str  # as in folder names, tables and submissions
    text_columns: tuple[str, ...]  # one column, or two for a pair
    label_column: str
    metrics: tuple[str, ...]  # all official metrics; empty if the task is not scored
    splits: Mapping[str, SplitFile]  # "train", the dev splits and the test splits
    labels: tuple[str, ...] = ()  # the classes as words, in the order of their numbers; empty for a regression
    codes: tuple[str, ...] = ()  # the classes as written in the files; empty: the same as `labels`
    score_range: tuple[float, float] = (0.0, 1.0)  # of a regression; models are trained on scores scaled to [0, 1]
    num_epochs: int = 3  # of fine-tuning. Source: release configure_finetuning.py:134-146
    pair_swap: bool = False  # whether the release also trains on swapped pairs (its issue 98)
    main_metric: str = ""  # the metric in the paper's average; empty: the first of `metrics`

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", self.codes or self.labels)
        object.__setattr__(self, "main_metric", self.main_metric or (*self.metrics, "")[0])

    @property
    def is_regression(self) -> bool:
        """Whether the label is a real number, not a class."""
        return not self.labels

    @property
    def num_outputs(self) -> int:
        """Width of the model's last layer."""
        return len(self.labels) or 1

    @property
    def dev_splits(self) -> tuple[str, ...]:
        """The names of the splits that a model is scored on."""
        return tuple(name for name in self.splits if name.startswith("dev"))

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The names of the splits without labels."""
        return tuple(name for name in self.splits if name != "train" and not name.startswith("dev"))

    def predictions(self, outputs: Array) -> Array:
        """Turn a model's (N, num_outputs) outputs into (N,) classes, or scores in the range of the data files.

        Scores are not clipped: clipping would make ties, which lower a rank correlation.
        """
        if not self.is_regression:
            return outputs.argmax(axis=1)
        low, high = self.score_range
        return low + (high - low) * outputs[:, 0].astype(np.float64)

    def targets(self, labels: Array) -> Array:
        """Return what a model is trained on: (N,) int64 classes unchanged, or float32 scores in [0, 1]."""
        low, high = self.score_range
        return ((labels - low) / (high - low)).astype(np.float32) if self.is_regression else labels

    def scores(self, split: str, predictions: Array, labels: Array) -> dict[str, float]:
        """Return {metric: score} of a dev split; MNLI's metric is `accuracy_matched` or `accuracy_mismatched`."""
        suffix = split.removeprefix("dev")
        return {metric + suffix: METRICS[metric](predictions, labels) for metric in self.metrics}


def _splits(title: str, unheaded: tuple[str, ...] = (), **num_rows: int) -> dict[str, SplitFile]:
    return {
        split: SplitFile(f"{title}/{split}.tsv", (number,), () if split == "test" else unheaded)
        for split, number in num_rows.items()
    }


_SENTENCES = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")

TASKS: Mapping[str, Task] = {task.name: task for task in (
    Task(
        name="cola", title="CoLA", text_columns=("sentence",), label_column="label",
        labels=("unacceptable", "acceptable"), codes=_BINARY, metrics=("matthews", "accuracy"),
        splits=_splits("CoLA", train=8_551, dev=1_043, test=1_063, unheaded=("source", "label", "mark", "sentence")),
    ),
    Task(
        name="sst2", title="SST-2", text_columns=("sentence",), label_column="label",
        labels=("negative", "positive"), codes=_BINARY, metrics=("accuracy",),
        splits=_splits("SST-2", train=67_349, dev=872, test=1_821),
    ),
    Task(
        name="mrpc", title="MRPC", text_columns=("#1 String", "#2 String"), label_column="Quality",
        labels=("not_equivalent", "equivalent"), codes=_BINARY, metrics=("accuracy", "f1"), pair_swap=True,
        splits=_splits("MRPC", train=3_668, dev=408, test=1_725),
    ),
    Task(
        name="stsb", title="STS-B", text_columns=_SENTENCES, label_column="score", score_range=(0.0, 5.0),
        metrics=("spearman", "pearson"), num_epochs=10, pair_swap=True,
        splits=_splits("STS-B", train=5_749, dev=1_500, test=1_379),
    ),
    Task(
        name="qqp", title="QQP", text_columns=("question1", "question2"), label_column="is_duplicate",
        labels=("not_duplicate", "duplicate"), codes=_BINARY, metrics=("accuracy", "f1"),
        # The first archive broke some rows in two and has three usable rows more than the cleaned archive.
        splits=_splits("QQP", train=363_846, dev=40_430, test=390_965)
        | {"train": SplitFile("QQP/train.tsv", (363_846, 363_849), may_be_damaged=True)},
    ),
    Task(
        name="mnli", title="MNLI", text_columns=_SENTENCES, label_column="gold_label",
        labels=("entailment", "neutral", "contradiction"), metrics=("accuracy",),
        main_metric="accuracy_matched",
        splits=_splits("MNLI", train=392_702, dev_matched=9_815, dev_mismatched=9_832, test_matched=9_796,
                       test_mismatched=9_847) | {"diagnostic": SplitFile("AX/AX.tsv", (1_104,))},
    ),
    Task(
        name="qnli", title="QNLI", text_columns=("question", "sentence"), label_column="label",
        labels=_ENTAILMENT, metrics=("accuracy",), splits=_splits("QNLI", train=104_743, dev=5_463, test=5_463),
    ),
    Task(
        name="rte", title="RTE", text_columns=_SENTENCES, label_column="label", labels=_ENTAILMENT,
        metrics=("accuracy",), num_epochs=10, splits=_splits("RTE", train=2_490, dev=277, test=3_000),
    ),
    Task(
        name="wnli", title="WNLI", text_columns=_SENTENCES, label_column="label",
        labels=_ENTAILMENT[::-1], codes=_BINARY, metrics=("accuracy",),
        splits=_splits("WNLI", train=635, dev=71, test=146),
    ),
)}  # fmt: skip


def find_task(name: str) -> Task:
    """Return the task with this name, in any spelling (`stsb`, `STS-B`, `sts-b`); ValueError if there is none."""
    plain = name.strip().lower().replace("-", "")
    if plain not in TASKS:
        raise ValueError(f"--task: expected one of {', '.join(TASKS)}, found {name!r}; choose one of them")
    return TASKS[plain]
