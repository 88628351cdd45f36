"""Fine-tune on GLUE.

    python train_glue.py --task cola --seeds 5                    # from runs/pretrain; small: 5 minutes a seed in bf16
    python train_glue.py --task all --checkpoint runs/pretrain    # every task whose files are there
    python train_glue.py --train-file a.csv --dev-file b.csv --text-column text --label-column mood --metric accuracy

The model of the last update is scored, once. A finished run is not run again; the last lines are the table of all
runs of this checkpoint and these settings. Exit codes: 0 finished, 2 a mistake in what was asked.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from electra import cli
from electra.config import FINETUNE_RECIPES, FinetuneConfig
from electra.files import write_json
from electra.glue.batches import Features, collate, encode, training_batches
from electra.glue.download import fetch_task
from electra.glue.files import Rows, own_task, read_split, with_swapped_pairs
from electra.glue.finetune import (
    Start,
    build_classifier,
    learning_rates,
    loss_sum,
    open_start,
    predict_rows,
    rate_table,
    save_classifier,
)
from electra.glue.predictions import Predictions, write_predictions
from electra.glue.release import missing_files
from electra.glue.results import (
    FROM_MNLI,
    Record,
    append_result,
    describe,
    describe_protocol,
    identify,
    is_finished,
    read_results,
    result_line,
    results_table,
    summarize_results,
)
from electra.glue.tasks import TASKS, Task, find_task
from electra.model.networks import SequenceClassifier
from electra.scores.metrics import CLASS_METRICS, SCORE_METRICS
from electra.training.checkpoint import default_checkpoint
from electra.training.devices import autocast, choose_precision, micro_batches, resolve_precision, seed_dropout
from electra.training.log import provenance
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from electra.training.ranks import started


def make_parser() -> cli.Parser:
    """The command's own flags, then one for each setting."""
    parser = cli.Parser("train_glue.py", description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="", help=f"all, or some of {', '.join(TASKS)}, with commas")
    parser.add_argument("--seeds", default="5", help="a count, or a list like 0,1,2 (default 5: 0 to 4)")
    parser.add_argument("--checkpoint", type=Path, help="a run, or one checkpoint in it "
                        "(default runs/pretrain)")  # fmt: skip
    parser.add_argument("--from-scratch", action="store_true", help="random weights in the checkpoint's shape")
    parser.add_argument("--init-from-mnli", type=Path, help=f"a model of MNLI to start {', '.join(FROM_MNLI)} from")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("glue_data"), help="the official files (default glue_data)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/glue"), help="results folder (default runs/glue)")
    parser.add_argument("--no-download", action="store_true", help="never fetch missing files")
    parser.add_argument("--allow-other-sizes", action="store_true", help="accept files with other row counts")
    parser.add_argument("--predict-test", action="store_true", help="also predict the test files, for a submission")
    parser.add_argument("--save-models", action="store_true", help="keep each fine-tuned model, for predict and export")
    own = parser.add_argument_group("a task of your own (.tsv, .csv, .jsonl with named columns)")
    own.add_argument("--train-file", type=Path, help="rows to learn from, instead of an official task")
    own.add_argument("--dev-file", type=Path, help="rows to be scored on")
    own.add_argument("--text-column", default="", help="where the text is")
    own.add_argument("--text-pair-column", default="", help="where the second text is, for pairs")
    own.add_argument("--label-column", default="", help="where the label or the score is")
    own.add_argument("--metric", default="", help=f"{', '.join(CLASS_METRICS)} for labels (f1: of the last in sorted "
                     f"order), {', '.join(SCORE_METRICS)} for scores")  # fmt: skip
    cli.add_settings(parser, FinetuneConfig, "the protocol (table 6 of the report)")
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, FinetuneConfig]:
    """What to run, and flags over recipe over defaults; prints what is not as in the recipe."""
    asked = make_parser().parse_args(argv)
    given = {
        field.name: getattr(asked, field.name) for field in dataclasses.fields(FinetuneConfig) if field.name in asked
    }
    preset = FINETUNE_RECIPES[cli.build(FinetuneConfig, given).recipe]
    config = cli.build(FinetuneConfig, preset, given)
    for change in cli.differences(cli.build(FinetuneConfig, preset, {"recipe": config.recipe}), config):
        print(f"not as in recipe {config.recipe}: {change}")
    return asked, config


def parse_seeds(text: str) -> list[int]:
    """`5` -> 0 to 4; `3,` or `0,1,2` -> those."""
    try:
        seeds = [int(part) for part in text.split(",") if part] if "," in text else [*range(int(text))]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds: expected a count from 1, or a list like 0,1,2, found {text!r}; give one of the two")
    return seeds


class Data(NamedTuple):
    """A task's files, read and encoded once for all seeds."""

    task: Task
    rows: Mapping[str, Rows]  # by split
    features: Mapping[str, Features]


def find_tasks(asked: argparse.Namespace) -> list[Task]:
    """The tasks to run; `all` leaves out those whose files are not there, and says so."""
    if asked.train_file or asked.dev_file:
        needed = ("train_file", "dev_file", "text_column", "label_column", "metric")
        if missing := [cli.flag_name(name) for name in needed if not getattr(asked, name)]:
            raise ValueError(f"a task of your own: expected {', '.join(missing)} too, found none; add them")
        if asked.task in TASKS:
            raise ValueError(
                f"--task: expected a name of your own for your own files, found {asked.task}; choose another"
            )
        columns = {name: getattr(asked, name) for name in ("text_column", "text_pair_column", "label_column", "metric")}
        return [own_task(asked.task or "own", asked.train_file, asked.dev_file, **columns)]
    if asked.task == "all":
        for task in TASKS.values():
            if missing_files(task, asked.data_dir):
                print(f"{task.name}: not run, {missing_files(task, asked.data_dir)[0]} is not there; "
                      f"python -m electra glue download --task {task.name}")  # fmt: skip
        if found := [task for task in TASKS.values() if not missing_files(task, asked.data_dir)]:
            return found
        raise FileNotFoundError(f"{asked.data_dir}: expected the files of some task, found none; "
                                "fetch them with python -m electra glue download")  # fmt: skip
    if not asked.task:
        raise ValueError(f"--task: expected all, or some of {', '.join(TASKS)}, found none; name one")
    return [find_task(name) for name in asked.task.split(",")]


def read(task: Task, asked: argparse.Namespace, config: FinetuneConfig, start: Start) -> Data:
    """Read and encode the splits of a task, fetched first where they are missing."""
    if missing_files(task, asked.data_dir) and not asked.no_download:
        print(f"{task.name}: fetching {task.title} into {asked.data_dir}/")
        fetch_task(task, asked.data_dir)
    splits = ("train", *task.dev_splits, *(task.test_splits if asked.predict_test else ()))
    rows = {s: read_split(task, asked.data_dir, s, allow_other_sizes=asked.allow_other_sizes) for s in splits}
    if config.pair_swap and task.pair_swap:
        rows["train"] = with_swapped_pairs(rows["train"])
    features = {s: encode(r.first, r.second, start.tokenizer, config.max_seq_length) for s, r in rows.items()}
    return Data(task, rows, features)


class Trained(NamedTuple):
    """What a training run leaves besides the model."""

    num_updates: int
    num_skipped: int  # updates left out because a gradient was not finite
    train_loss: float  # mean over the rows of the last epoch


def train(model: SequenceClassifier, data: Data, config: FinetuneConfig, seed: int, device: torch.device) -> Trained:
    """The loop: every update of every epoch, the model of the last one is the result."""
    features, targets = data.features["train"], torch.from_numpy(data.task.targets(data.rows["train"].gold))
    num_epochs = config.num_epochs or data.task.num_epochs
    num_updates = num_epochs * -(-len(features) // config.batch_size)
    num_warmup_steps = int(config.warmup_fraction * num_updates)
    dtype = resolve_precision(config.precision, device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay, learning_rates(model, config))
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**14, enabled=dtype == torch.float16)
    num_skipped, loss_of_epoch = torch.zeros((), device=device), torch.zeros((), device=device)
    bar = tqdm(total=num_updates, desc=f"{data.task.name} seed {seed}", unit="update", disable=None, leave=False)
    model.train()
    step = 0
    for epoch in range(num_epochs):
        loss_of_epoch.zero_()
        for rows in training_batches(
            features.lengths, config.batch_size, seed, epoch, length_buckets=config.length_buckets
        ):
            factor = schedule_factor(config.schedule, step, num_updates, num_warmup_steps)
            set_update(optimizer, config.learning_rate * factor, config.bias_correction)
            for index, (first, last) in enumerate(micro_batches(0, len(rows), config.micro_batch_size)):
                seed_dropout(seed, step, 0, index)
                batch = collate(features, rows[first:last], token_types=config.token_types)
                with autocast(device, dtype):
                    outputs = model(**{name: tensor.to(device) for name, tensor in batch.items()})
                loss = loss_sum(outputs, targets[rows[first:last]].to(device))
                loss_of_epoch += loss.detach()
                scaler.scale(loss / (len(rows) if config.loss_reduction == "mean" else 1)).backward()
            scaler.unscale_(optimizer)
            _, skipped = apply_update(optimizer, scaler, model.parameters(), config.max_grad_norm)
            num_skipped += skipped
            step += 1
            bar.update()
    bar.close()
    return Trained(step, int(num_skipped), loss_of_epoch.item() / len(features))


def run(
    data: Data, asked: argparse.Namespace, config: FinetuneConfig, start: Start, identity: Record, device: torch.device
) -> Record:
    """One (checkpoint, task, seed): build, train, predict, score; returns its record."""
    task, seed, began = data.task, identity["seed"], time.monotonic()
    model = build_classifier(start, task.num_outputs, config, seed, from_scratch=asked.from_scratch).to(device)
    trained = train(model, data, config, seed, device)
    train_seconds = time.monotonic() - began
    metrics: dict[str, float] = {}
    files, is_failed = {}, False
    for split in (split for split in data.rows if split != "train"):
        outputs = predict_rows(model, data.features[split], config, device)
        values, labels = task.predictions(outputs), data.rows[split].labels
        files[split] = f"predictions/{task.name}-seed{seed}-{identity['run_id']}-{split}.tsv"
        write_predictions(asked.out / files[split], task, Predictions(values, labels), outputs)
        if labels is not None:
            metrics |= task.scores(split, values, labels)
            is_failed |= task.is_failed(values, labels)
    saved = f"models/{task.name}-seed{seed}-{identity['run_id']}" if asked.save_models else None
    if saved:
        save_classifier(asked.out / saved, model, start, config, task, trained.num_updates)
    return {
        **identity,
        "metrics": metrics,
        "main_metric": task.main_metric,
        "labels": task.labels,
        "failed": is_failed,
        "predictions": files,
        "model": saved,
        **trained._asdict(),
        "train_seconds": train_seconds,
        "evaluate_seconds": time.monotonic() - began - train_seconds,
        "provenance": provenance(sys.argv, device),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; `argv` defaults to the command line's."""
    asked, config = parse(argv)
    seeds, tasks = parse_seeds(asked.seeds), find_tasks(asked)
    if asked.init_from_mnli and asked.from_scratch:
        raise ValueError("--init-from-mnli: expected a start from a checkpoint, found --from-scratch; drop one of them")
    start = open_start(asked.checkpoint or default_checkpoint(Path("runs/pretrain")))
    mnli = open_start(asked.init_from_mnli, task="mnli") if asked.init_from_mnli else None
    with started(config.device) as ranks:
        if ranks.world_size > 1:
            raise ValueError(f"torchrun: expected one process, found {ranks.world_size}; give each device its tasks")
        precision = choose_precision(config.precision, ranks.device)
        protocol = describe_protocol(start, config, precision=precision, from_scratch=asked.from_scratch, mnli=mnli)
        print(f"{describe(protocol)}\n{rate_table(start.shape.num_layers, config)}")
        for task in tasks:
            start_of_task = mnli if mnli and task.name in FROM_MNLI else start
            data = read(task, asked, config, start_of_task)
            for seed in seeds:
                identity = identify(protocol, task.name, seed, data.rows)
                if is_finished(asked.out, identity, with_model=asked.save_models):
                    print(f"{task.name} seed {seed}: finished before")
                    continue
                record = run(data, asked, config, start_of_task, identity, ranks.device)
                append_result(asked.out, record)
                print(result_line(record))
                if record["model"]:
                    print(f'  python -m electra predict --checkpoint {asked.out / record["model"]} "..."')
    records = [record for record in read_results(asked.out) if record["protocol_id"] == protocol["protocol_id"]]
    summary = summarize_results(records)
    write_json(asked.out / f"summary-{protocol['protocol_id']}.json", {**protocol, **summary})
    print(f"{describe(protocol)}\n{results_table(summary)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
