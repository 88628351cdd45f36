"""From the flags of `train_glue.py` to tasks, seeds, the model to start from, and each task's encoded rows."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from electra import cli
from electra.config import FinetuneConfig
from electra.glue.batches import Features, encode
from electra.glue.download import fetch_task, missing_files
from electra.glue.files import Rows, class_name, describe_rows, read_split, with_swapped_pairs
from electra.glue.finetune import Start, open_start
from electra.glue.results import FROM_MNLI
from electra.glue.tasks import TASKS, SplitFile, Task, find_task
from electra.scores.metrics import CLASS_METRICS, METRICS, SCORE_METRICS
from electra.training.checkpoint import default_checkpoint


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what to run; the flags of the protocol come from `FinetuneConfig`."""
    add = parser.add_argument
    add("--task", default="", help=f"all, or some of {', '.join(TASKS)}, with commas; or a name for your own task")
    add("--seeds", default="5", help="a count, or a list like 0,1,2 (default 5: 0 to 4)")
    add("--checkpoint", type=Path, help="a pre-training run, or a checkpoint in it (default runs/pretrain, or mini)")
    add("--from-scratch", action="store_true", help="random weights in the checkpoint's shape")
    add("--init-from-mnli", type=Path, help=f"a model of MNLI to start {', '.join(FROM_MNLI)} from")
    add("--data-dir", type=Path, default=Path("glue_data"), help="the official files (default glue_data)")
    add("--out", type=Path, default=Path("runs/glue"), help="results folder (default runs/glue)")
    add("--allow-other-sizes", action="store_true", help="accept files with other row counts")
    add("--predict-test", action="store_true", help="also predict the test files, for a submission")
    add("--save-models", action="store_true", help="keep each fine-tuned model, for predict and export")
    own = parser.add_argument_group("a task of your own (.tsv, .csv, .jsonl with named columns)").add_argument
    own("--train-file", type=Path, help="rows to learn from, instead of an official task")
    own("--dev-file", type=Path, help="rows to be scored on")
    own("--text-column", default="", help="where the text is")
    own("--text-pair-column", default="", help="where the second text is, for pairs")
    own("--label-column", default="", help="where the label or the score is")
    scores = f"{', '.join(SCORE_METRICS)} for scores"
    own("--metric", default="", help=f"{', '.join(CLASS_METRICS)} for labels (f1: of the second, sorted), {scores}")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a count (`5` means 0 to 4) or of a list (`0,1,2`; `3,` means seed 3 alone)."""
    try:
        seeds = [int(part) for part in text.split(",") if part] if "," in text else [*range(int(text))]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds: expected a count from 1, or a list like 0,1,2, found {text!r}; give one of the two")
    return seeds


def find_tasks(asked: argparse.Namespace) -> list[Task]:
    """Return the tasks to run, for `all` those with files; ValueError for a flag that only the other kind reads."""
    is_own = bool(asked.train_file or asked.dev_file)
    columns = ("text_column", "text_pair_column", "label_column", "metric")
    for name in ("init_from_mnli", "predict_test", "pair_swap") if is_own else columns:
        if getattr(asked, name, None):
            kind, files = ("an official task", "--train-file") if is_own else ("a task of your own", "no --train-file")
            raise ValueError(f"{cli.flag_name(name)}: expected {kind}, found {files}; drop one of them")
    if is_own:
        return [own_task(asked)]
    if not asked.task:
        raise ValueError(f"--task: expected all, or some of {', '.join(TASKS)}, found none; name one")
    if asked.task != "all":
        return [find_task(name) for name in asked.task.split(",")]
    found = []
    for task in TASKS.values():
        if missing := missing_files(task, asked.data_dir):
            print(f"{task.name}: not run, no {missing[0]}; run python -m electra glue download --task {task.name}")
        else:
            found.append(task)
    if not found:
        expected = f"{asked.data_dir}: expected the files of some task, found none"
        raise FileNotFoundError(f"{expected}; fetch them with python -m electra glue download")
    return found


def own_task(asked: argparse.Namespace) -> Task:
    """Return the task of a person's own .tsv, .csv or .jsonl files, with absolute paths: no data folder is needed.

    The classes are the labels of the training file in sorted order, so F1 is for the second class. If the metric is a
    correlation, the task is a regression; allowed scores are from the lowest to the highest in the two files.
    """
    needed = ("train_file", "dev_file", "text_column", "label_column", "metric")
    if missing := [cli.flag_name(name) for name in needed if not getattr(asked, name)]:
        raise ValueError(f"a task of your own: expected {', '.join(missing)} too, found none; add them")
    name, label_column, metric = asked.task or "own", asked.label_column, asked.metric
    if name.lower().replace("-", "") in (*TASKS, "all") or not re.fullmatch(r"\w[\w-]*", name):
        expected = f"expected a name of your own for your own files, found {name!r}"
        raise ValueError(f"--task: {expected}; choose another, of letters, digits and '-'")
    files = {"train": SplitFile(str(asked.train_file.resolve())), "dev": SplitFile(str(asked.dev_file.resolve()))}
    texts = (asked.text_column, asked.text_pair_column) if asked.text_pair_column else (asked.text_column,)
    if len({*texts, label_column}) <= len(texts):
        raise ValueError("a task of your own: expected different columns, found one in two flags; correct the flags")
    facts: dict[str, Any] = {"name": name, "title": name, "text_columns": texts, "label_column": label_column}
    facts |= {"splits": files, "main_metric": metric}
    if metric in SCORE_METRICS:
        task = Task(**facts, metrics=tuple(SCORE_METRICS), score_range=(-math.inf, math.inf))
        scores = np.concatenate([read_split(task, Path(), split).labels for split in files])
        low, high = float(scores.min()), float(scores.max())
        if low == high:
            expected = f"expected scores that differ, found {low:g} throughout"
            raise ValueError(f"{asked.train_file}: {expected}; check {label_column}")
        return dataclasses.replace(task, score_range=(low, high))
    if metric not in CLASS_METRICS:
        raise ValueError(f"--metric: expected one of {', '.join(METRICS)}, found {metric!r}; choose one of them")
    labels = Task(**{**facts, "text_columns": (label_column,), "splits": {"labels": files["train"]}}, metrics=())
    given = read_split(labels, Path(), "labels").first
    words = tuple(sorted({*map(class_name, given)} - {""}))
    if len(words) < 2 or (metric == "f1" and len(words) != 2):
        expected = f"expected {'two' if metric == 'f1' else 'two or more'} classes under {label_column}"
        bad = next((f" and {label!r}, which is empty or not printable" for label in given if not class_name(label)), "")
        raise ValueError(f"{asked.train_file}: {expected}, found {len(words)}{bad}; choose another column or metric")
    return Task(**facts, labels=words, metrics=tuple(m for m in CLASS_METRICS if m != "f1" or len(words) == 2))


def find_start(asked: argparse.Namespace) -> tuple[Start, Start | None]:
    """Return the checkpoint to start from, and for tasks of `FROM_MNLI` the model of --init-from-mnli (or None)."""
    if asked.init_from_mnli and asked.from_scratch:
        raise ValueError("--init-from-mnli: expected a start from a checkpoint, found --from-scratch; drop one of them")
    mnli = open_start(asked.init_from_mnli, task="mnli") if asked.init_from_mnli else None
    return open_start(asked.checkpoint or default_checkpoint(Path("runs/pretrain"))), mnli


class Data(NamedTuple):
    """A task with its rows, read and encoded once for all seeds."""

    task: Task
    rows: Mapping[str, Rows]  # by split
    features: Mapping[str, Features]


def read_data(task: Task, asked: argparse.Namespace, config: FinetuneConfig, start: Start) -> Data:
    """Read and encode the splits of a task; fetch missing files first, and print what was read."""
    if task.name in TASKS and missing_files(task, asked.data_dir):
        print(f"{task.name}: fetching {task.title} into {asked.data_dir}/")
        fetch_task(task, asked.data_dir)
    splits = ("train", *task.dev_splits, *(task.test_splits if asked.predict_test else ()))
    rows = {s: read_split(task, asked.data_dir, s, allow_other_sizes=asked.allow_other_sizes) for s in splits}
    if task.name not in TASKS and rows["train"].sha256 == rows["dev"].sha256:
        raise ValueError("--dev-file: expected rows that are not learned from, found --train-file's; name another file")
    described = {split: describe_rows(task, rows[split]) for split in splits}
    if config.pair_swap and task.pair_swap:
        rows["train"] = with_swapped_pairs(rows["train"])
    features = {s: encode(r.first, r.second, start.tokenizer, config.max_seq_length) for s, r in rows.items()}
    for split, line in described.items():
        cut = f", {features[split].num_cut:,} rows cut to {config.max_seq_length} tokens"
        print(f"{task.name} {split}: {line}{cut * bool(features[split].num_cut)}")
    return Data(task, rows, features)
