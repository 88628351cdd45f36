"""Pre-train ELECTRA.

    python train_pretrain.py                       # demo: about 4 minutes on two CPU cores, no data needed
    python train_pretrain.py --data owt_shards/    # ELECTRA-Small as in table 5: 1M updates, 16.4 G tokens

The same command goes on where it was stopped. The last line names the checkpoint it leaves.
Exit codes: 0 finished, 2 a mistake in what was asked, 130 / 143 stopped by SIGINT / SIGTERM after saving.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from electra import cli
from electra.checkpoint import TrainingState, check_same_run, newest_good, prune
from electra.config import DEMO, DEMO_VOCAB_SIZE, PRETRAIN_RECIPES, SIZES, EncoderConfig, PretrainConfig
from electra.corpus import standard_library_documents
from electra.corruption import Batch, make_batch
from electra.evaluation import HeldOut
from electra.files import lock_folder, write_json
from electra.inference import corrupted_example
from electra.models import Electra, count_parameters, initialize_weights
from electra.objective import count, replaced_token_detection
from electra.optim import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from electra.prepare import prepare_documents
from electra.runlog import Meter, RunLog, held_out_line, progress_line, provenance
from electra.runtime import (
    Ranks,
    StopSignals,
    ahead,
    autocast,
    micro_batches,
    resolve_precision,
    seed_dropout,
    set_deterministic,
    started,
)
from electra.seeding import generator
from electra.shards import open_shards
from electra.tokenizer import Tokenizer
from electra.windows import WindowSampler


def parse(argv: Sequence[str] | None) -> tuple[PretrainConfig, EncoderConfig]:
    """Flags over size over recipe over defaults; without `--data`, the demo's settings stand below the flags."""
    parser = cli.Parser("train_pretrain.py", description=__doc__.split("\n")[0])
    cli.add_settings(parser, PretrainConfig, "the run (table 5 of the report)")
    cli.add_settings(parser, EncoderConfig, "the discriminator's shape, over --size")
    given = vars(parser.parse_args(argv))
    base = {} if "data" in given else DEMO
    names = PretrainConfig(**{key: value for key, value in {**base, **given}.items() if key in ("recipe", "size")})
    presets = (PRETRAIN_RECIPES[names.recipe], SIZES[names.size], base)
    config, shape = cli.build(PretrainConfig, *presets, given), cli.build(EncoderConfig, *presets, given)
    for change in cli.differences(cli.build(PretrainConfig, *presets), config):
        print(f"not as in recipe {config.recipe}, size {config.size}: {change}")
    return config, shape


def build(config: PretrainConfig, shape: EncoderConfig, device: torch.device) -> TrainingState:
    """The model at its starting values, and its optimizer: step 0."""
    model = Electra(shape, config.generator_size)
    initialize_weights(model, generator(config.seed, "init"), shape.initializer_range)
    model.to(device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay)
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    is_fp16 = resolve_precision(config.precision, device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=is_fp16)
    return TrainingState(model, optimizer, scaler, num_skipped=torch.zeros((), device=device))


class Run(NamedTuple):
    """An opened run folder: what the loop needs and does not change."""

    settings: Mapping[str, Any]
    state: TrainingState
    batches: Iterator[Batch]
    held_out: HeldOut
    tokenizer: Tokenizer
    last_step: int


def open_run(config: PretrainConfig, shape: EncoderConfig, device: torch.device) -> Run:
    """Open the data, refuse what does not belong to the run folder, and resume from its newest good checkpoint."""
    data, run_dir = Path(config.data), Path(config.run_dir)
    shards, held_out_shards, tokenizer = (
        open_shards(data),
        open_shards(data, "held-out"),
        Tokenizer.load(data),
    )
    shape = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size)
    settings = {
        "encoder": dataclasses.asdict(shape),
        "pretrain": dataclasses.asdict(config),
        "tokenizer": tokenizer.fingerprint,
        "shards": shards.fingerprint,
    }
    check_same_run(run_dir, settings)
    state = build(config, shape, device)
    if checkpoint := newest_good(run_dir):
        state.restore(checkpoint)
    mask = partial(
        make_batch,
        special_ids=tokenizer.special_ids,
        mask_prob=config.mask_prob,
        mask_token_prob=config.mask_token_prob,
        seed=config.seed,
    )
    sampler = partial(
        WindowSampler,
        special_ids=tokenizer.special_ids,
        seq_length=config.seq_length,
        seed=config.seed,
        sampling=config.sampling,
    )
    windows, held_out_windows = (
        sampler(shards, batch_size=config.batch_size),
        sampler(held_out_shards, batch_size=config.eval_rows),
    )
    held_out = HeldOut(
        mask(held_out_windows.sample(0), "held-out"), held_out_windows.documents(0), tokenizer.special_ids
    )
    last_step = min(config.stop_after or config.num_train_steps, config.num_train_steps)
    batches = ahead(lambda step: mask(windows.sample(step), step), range(state.step, last_step))
    print(
        f"{run_dir}: {count_parameters(state.model):,} parameters, {shards.num_tokens:,} training tokens, on "
        f"{device.type} in {config.precision}, from update {state.step:,} to {last_step:,}"
    )
    return Run(settings, state, batches, held_out, tokenizer, last_step)


def pretrain(config: PretrainConfig, run: Run, ranks: Ranks) -> int:
    """The loop: every update from where the run stands to its last step; returns the exit code."""
    run_dir, device, state, model = Path(config.run_dir), ranks.device, run.state, run.state.model
    dtype = resolve_precision(config.precision, device)
    first_row, last_row = ranks.share(config.batch_size)
    log, meter = (
        RunLog(run_dir / "metrics.jsonl", state.step),
        Meter(state.step, config.batch_size * config.seq_length),
    )
    stop, began = StopSignals(), time.monotonic() - state.elapsed_seconds
    bar = tqdm(total=run.last_step, initial=state.step, unit="update", disable=None, smoothing=0.05)
    for step, batch in enumerate(run.batches, start=state.step):
        counts = count(batch)
        factor = schedule_factor(config.schedule, step, config.num_train_steps, config.num_warmup_steps)
        set_update(state.optimizer, config.learning_rate * factor, config.bias_correction)
        for index, (start, end) in enumerate(micro_batches(first_row, last_row, config.micro_batch_size)):
            seed_dropout(config.seed, step, ranks.rank, index)
            rows = batch.rows(start, end, device)
            with autocast(device, dtype):
                losses = replaced_token_detection(model, rows, counts, config.gen_weight, config.disc_weight)
            state.scaler.scale(losses.loss).backward()
            meter.add(loss=losses.loss, masked_lm_loss=losses.masked_lm_loss, disc_loss=losses.disc_loss)
        ranks.sum_gradients(model.parameters())
        grad_norm, skipped = apply_update(state.optimizer, state.scaler, model.parameters(), config.max_grad_norm)
        meter.add(grad_norm=grad_norm)
        state.num_skipped += skipped
        state.step, state.elapsed_seconds = step + 1, time.monotonic() - began
        bar.update()

        is_last = state.step == run.last_step or bool(stop.received)
        if state.step % config.log_every == 0 or is_last:
            record = meter.read(state.step)
            log.write(step=state.step, **record, learning_rate=config.learning_rate * factor,
                      num_skipped=state.num_skipped.item(), elapsed_seconds=state.elapsed_seconds)  # fmt: skip
            bar.set_postfix_str(progress_line(record))
        paused = time.monotonic()
        if state.step % config.eval_every == 0 or state.step == run.last_step:
            predictions, metrics = run.held_out.evaluate(model, device, dtype)
            log.write(step=state.step, split="held-out", **metrics)
            tqdm.write(held_out_line(state.step, metrics))
        if state.step % config.checkpoint_every == 0 or is_last:
            folder = state.save(run_dir, run.settings, (Path(config.data) / "tokenizer.json").read_bytes())
            prune(run_dir, config.keep_checkpoints)
        meter.leave_out(time.monotonic() - paused)
        if stop.received:
            tqdm.write(f"stopped at update {state.step:,} of {run.last_step:,}; the same command goes on from {folder}")
            return stop.exit_code
    bar.close()
    print(corrupted_example(run.held_out.batch, predictions, run.tokenizer))
    print(f"finished: {folder}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; `argv` defaults to the command line's."""
    config, shape = parse(argv)
    data, run_dir = Path(config.data), Path(config.run_dir)
    with started(config.device) as ranks, lock_folder(run_dir):
        if config.data == DEMO["data"]:
            print("no --data given: a demo on the documentation inside this Python")
            prepare_documents(standard_library_documents(), data, vocab_size=DEMO_VOCAB_SIZE)
        set_deterministic(config.deterministic)
        run = open_run(config, shape, ranks.device)
        if run.state.step >= run.last_step:
            print(f"finished: {run_dir} is at update {run.state.step:,} of {run.last_step:,}")
            return 0
        write_json(run_dir / "config.json", run.settings)
        write_json(run_dir / "provenance.json", provenance(sys.argv, ranks.device))
        return pretrain(config, run, ranks)


if __name__ == "__main__":
    cli.run(main)
