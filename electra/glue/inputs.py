"""What fine-tuning is asked for: flags -> tasks, seeds, the model to start from, and each task's encoded rows."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from electra import cli
from electra.config import DEMO, FinetuneConfig
from electra.glue.batches import Features, encode
from electra.glue.download import fetch_task
from electra.glue.files import Rows, describe_rows, own_task, read_split, with_swapped_pairs
from electra.glue.finetune import Start, open_start
from electra.glue.release import missing_files
from electra.glue.results import FROM_MNLI
from electra.glue.tasks import TASKS, Task, find_task
from electra.scores.metrics import CLASS_METRICS, SCORE_METRICS
from electra.training.checkpoint import default_checkpoint


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say what to run; settings of the protocol come from `FinetuneConfig`."""
    add = parser.add_argument
    add("--task", default="", help=f"all, or some of {', '.join(TASKS)}, with commas")
    add("--seeds", default="5", help="a count, or a list like 0,1,2 (default 5: 0 to 4)")
    add("--checkpoint", type=Path, help="a pre-training run, or a checkpoint in it (default runs/pretrain)")
    add("--from-scratch", action="store_true", help="random weights in the checkpoint's shape")
    add("--init-from-mnli", type=Path, help=f"a model of MNLI to start {', '.join(FROM_MNLI)} from")
    add("--data-dir", type=Path, default=Path("glue_data"), help="the official files (default glue_data)")
    add("--out", type=Path, default=Path("runs/glue"), help="results folder (default runs/glue)")
    add("--no-download", action="store_true", help="never fetch missing files")
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
    own("--metric", default="", help=f"{', '.join(CLASS_METRICS)} for labels (f1: of the last in order), {scores}")


def parse_seeds(text: str) -> list[int]:
    """`5` -> 0 to 4; `3,` or `0,1,2` -> those."""
    try:
        seeds = [int(part) for part in text.split(",") if part] if "," in text else [*range(int(text))]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds: expected a count from 1, or a list like 0,1,2, found {text!r}; give one of the two")
    return seeds


def find_tasks(asked: argparse.Namespace) -> list[Task]:
    """The tasks to run; `all` leaves out those whose files are not there, and says so."""
    if asked.train_file or asked.dev_file:
        return [_own_task(asked)]
    if not asked.task:
        raise ValueError(f"--task: expected all, or some of {', '.join(TASKS)}, found none; name one")
    if asked.task != "all":
        return [find_task(name.strip()) for name in asked.task.split(",")]
    found = []
    for task in TASKS.values():
        if missing := missing_files(task, asked.data_dir):
            print(
                f"{task.name}: not run, {missing[0]} is not there; python -m electra glue download --task {task.name}"
            )
        else:
            found.append(task)
    if not found:
        raise FileNotFoundError(
            f"{asked.data_dir}: expected the files of some task, found none; "
            "fetch them with python -m electra glue download"
        )
    return found


def _own_task(asked: argparse.Namespace) -> Task:
    needed = ("train_file", "dev_file", "text_column", "label_column", "metric")
    if missing := [cli.flag_name(name) for name in needed if not getattr(asked, name)]:
        raise ValueError(f"a task of your own: expected {', '.join(missing)} too, found none; add them")
    name = asked.task or "own"
    if name.lower().replace("-", "") in (*TASKS, "all") or not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(
            f"--task: expected a name of your own for your own files, found {name!r}; "
            "choose another, of letters, digits and '-'"
        )
    columns = {name: getattr(asked, name) for name in ("text_column", "text_pair_column", "label_column", "metric")}
    return own_task(name, asked.train_file, asked.dev_file, **columns)


def find_start(asked: argparse.Namespace) -> tuple[Start, Start | None]:
    """The checkpoint to start from, and the MNLI model for `FROM_MNLI` if one is named."""
    if asked.init_from_mnli and asked.from_scratch:
        raise ValueError("--init-from-mnli: expected a start from a checkpoint, found --from-scratch; drop one of them")
    checkpoint = asked.checkpoint or default_checkpoint(Path("runs/pretrain"))
    if not asked.checkpoint and not checkpoint.exists():
        demo = DEMO["run_dir"]
        raise FileNotFoundError(
            f"{checkpoint}: expected a pre-trained model, found nothing; train one with python train_pretrain.py "
            f"(the demo goes to {demo}: then add --checkpoint {demo}), or name one you have with --checkpoint DIR"
        )
    start = open_start(checkpoint)
    return start, open_start(asked.init_from_mnli, task="mnli") if asked.init_from_mnli else None


class Data(NamedTuple):
    """A task's files, read and encoded once for all seeds."""

    task: Task
    rows: Mapping[str, Rows]  # by split
    features: Mapping[str, Features]


def read_data(task: Task, asked: argparse.Namespace, config: FinetuneConfig, start: Start) -> Data:
    """Read and encode the splits of a task, fetched first where they are missing; prints what was read."""
    if missing_files(task, asked.data_dir) and not asked.no_download:
        print(f"{task.name}: fetching {task.title} into {asked.data_dir}/")
        fetch_task(task, asked.data_dir)
    splits = ("train", *task.dev_splits, *(task.test_splits if asked.predict_test else ()))
    rows = {s: read_split(task, asked.data_dir, s, allow_other_sizes=asked.allow_other_sizes) for s in splits}
    for split in splits:
        print(f"{task.name} {split}: {describe_rows(task, rows[split])}")
    if config.pair_swap and task.pair_swap:
        rows["train"] = with_swapped_pairs(rows["train"])
    features = {s: encode(r.first, r.second, start.tokenizer, config.max_seq_length) for s, r in rows.items()}
    return Data(task, rows, features)
