"""Fine-tune on GLUE.

    python train_glue.py --task cola --seeds 5                    # from runs/pretrain, or mini if there is no run
    python train_glue.py --task all --checkpoint runs/pretrain    # every task whose files are in --data-dir
    python train_glue.py --train-file a.csv --dev-file b.csv --text-column text --label-column mood --metric accuracy

Each run scores the model of its last update. A finished run is not repeated. The last lines are the table of all runs
of this checkpoint with these settings. Exit codes: 0 finished, 2 a mistake in the command or its files.
"""

from __future__ import annotations

from electra import interrupts  # imported first, so that Ctrl-C during the other imports ends the script

# isort: split

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from electra import cli
from electra.config import FINETUNE_RECIPES, FinetuneConfig
from electra.glue import finetune, results
from electra.glue.batches import PaddedRows, collate, training_batches
from electra.glue.finetune import Labels, Start
from electra.glue.inputs import Data, add_flags, find_start, find_tasks, parse_seeds, read_data
from electra.glue.predictions import write_predictions
from electra.glue.results import Record
from electra.model.networks import SequenceClassifier
from electra.scores.metrics import is_failed
from electra.training import cuda_graph, devices
from electra.training.log import provenance
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from electra.training.ranks import started


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, FinetuneConfig]:
    """Return the flags and the settings, in which flags override the recipe; print how the settings differ from it."""
    parser = cli.Parser("train_glue.py", description=__doc__.split("\n")[0])
    add_flags(parser)
    cli.add_settings(parser, FinetuneConfig, "the protocol (Mercier's table 6)")
    asked = parser.parse_args(argv)
    given = {f.name: getattr(asked, f.name) for f in dataclasses.fields(FinetuneConfig) if f.name in asked}
    preset = FINETUNE_RECIPES[cli.build(FinetuneConfig, given).recipe]
    config = cli.build(FinetuneConfig, preset, given)
    for change in cli.differences(cli.build(FinetuneConfig, preset, {"recipe": config.recipe}), config):
        print(f"not as in recipe {config.recipe}: {change}")
    return asked, config


def train(model: SequenceClassifier, data: Data, config: FinetuneConfig, seed: int, device: torch.device) -> Record:
    """Fine-tune `model` in place for all epochs, and return facts about the training.

    Returns:
        num_updates; num_skipped, the updates whose gradient was not finite; train_loss, the last epoch's mean per row.
    """
    features, targets = data.features["train"], torch.from_numpy(data.task.targets(data.rows["train"].labels))
    num_epochs = config.num_epochs or data.task.num_epochs
    num_updates = num_epochs * -(-len(features) // config.batch_size)
    num_warmup_steps = config.warmup_fraction * num_updates
    if config.schedule == "warmup_then_linear":  # official keeps the fraction, as the release does
        num_warmup_steps = int(num_warmup_steps)
    dtype = devices.resolve_precision(config.precision, device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay, finetune.learning_rates(model, config))
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    scaler = torch.amp.GradScaler(device.type, init_scale=devices.FINETUNE_FP16_SCALE, enabled=dtype == torch.float16)
    num_skipped, loss_of_epoch = torch.zeros((), device=device), torch.zeros((), device=device)

    def forward_backward(rows: PaddedRows, labels: Labels) -> Tensor:
        with devices.autocast(device, dtype):
            outputs = model(*rows)
        loss = finetune.loss_sum(outputs, labels.targets)
        scaler.scale(loss / labels.divisor).backward()
        return loss.detach()

    is_recorded = config.cuda_graph and device.type == cuda_graph.DEVICE_TYPE
    passes = cuda_graph.Replayed(forward_backward, model.parameters()) if is_recorded else forward_backward
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
            divisor = torch.tensor(len(rows) if config.loss_reduction == "mean" else 1, device=device)
            for index, (first, last) in enumerate(devices.micro_batches(0, len(rows), config.micro_batch_size)):
                devices.seed_dropout(seed, step, 0, index)
                batch = collate(features, rows[first:last], device, token_types=config.token_types)
                loss_of_epoch += passes(batch, Labels(targets[rows[first:last]].to(device), divisor))
            scaler.unscale_(optimizer)
            _, skipped = apply_update(optimizer, scaler, model.parameters(), config.max_grad_norm)
            num_skipped += skipped
            step += 1
            bar.update()
    bar.close()
    train_loss = loss_of_epoch.item() / len(features)
    finetune.check_finite("train_loss", train_loss)
    return {"num_updates": step, "num_skipped": int(num_skipped), "train_loss": train_loss}


def run(
    data: Data, asked: argparse.Namespace, config: FinetuneConfig, start: Start, identity: Record, device: torch.device
) -> Record:
    """Fine-tune one model, write its predictions and score them; return the record: `identity` and the results."""
    task, seed, began = data.task, identity["seed"], time.monotonic()
    model = finetune.build_classifier(start, task.num_outputs, config, seed, from_scratch=asked.from_scratch).to(device)
    trained = train(model, data, config, seed, device)
    train_seconds = time.monotonic() - began
    metrics: dict[str, float] = {}
    files, failed, name = {}, False, f"{task.name}-seed{seed}-{identity['run_id']}"
    for split in (split for split in data.rows if split != "train"):
        outputs = finetune.predict_rows(model, data.features[split], config, device)
        values, labels = task.predictions(outputs), data.rows[split].labels
        files[split] = f"predictions/{name}-{split}.tsv"
        write_predictions(asked.out / files[split], task, values, labels, outputs)
        if len(labels):
            metrics |= task.scores(split, values, labels)
            failed |= is_failed(values, labels, is_regression=task.is_regression)
    saved = f"models/{name}" if asked.save_models else None
    if saved:
        finetune.save_classifier(asked.out / saved, model, start, config, task, trained["num_updates"])
    return {
        **identity,
        "metrics": metrics,
        "main_metric": task.main_metric,
        "failed": failed,
        "predictions": files,
        "model": saved,
        **trained,
        "train_seconds": train_seconds,
        "evaluate_seconds": time.monotonic() - began - train_seconds,
        "provenance": provenance(sys.argv, device),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; without `argv`, the flags are read from the command line."""
    asked, config = parse(argv)
    seeds, tasks = parse_seeds(asked.seeds), find_tasks(asked)
    start, mnli = find_start(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    with started(config.device) as ranks:
        if ranks.world_size > 1:
            raise ValueError(f"torchrun: expected one process, found {ranks.world_size}; run one command per device")
        precision = devices.choose_precision(config.precision, ranks.device)
        protocol = results.describe_protocol(start, config, precision, mnli, from_scratch=asked.from_scratch)
        print(f"{results.describe(protocol)}\n{finetune.rate_table(start.shape.num_layers, config)}")
        for task in tasks:
            start_of_task = mnli if mnli and task.name in results.FROM_MNLI else start
            data = read_data(task, asked, config, start_of_task)
            for seed in seeds:
                identity = results.identify(protocol, task, seed, data.rows)
                if results.is_finished(asked.out, identity, with_model=asked.save_models):
                    print(f"{task.name} seed {seed}: finished before")
                    continue
                record = run(data, asked, config, start_of_task, identity, ranks.device)
                results.append_result(asked.out, record)
                print(results.result_line(record))
                if record["model"]:
                    second = ' --text-pair "..."' if len(task.text_columns) > 1 else ""
                    print(f'  python -m electra predict --checkpoint {asked.out / record["model"]} "..."{second}')
    records = [record for record in results.read_results(asked.out) if record["protocol_id"] == protocol["protocol_id"]]
    print(f"{results.describe(protocol)}\n{results.results_table(results.summarize_results(records))}")
    return 0


if __name__ == "__main__":
    interrupts.loaded()
    cli.run(main)
