"""Pre-train ELECTRA.

    python train_pretrain.py                       # demo on a CPU: minutes, no data needed
    python train_pretrain.py --data owt_shards/    # ELECTRA-Small as in table 5: 1M updates, 16.4 G tokens

The same command resumes a stopped run. The last line of a finished run names the checkpoint.
Under torchrun the same script uses all GPUs of one or several machines.
Exit codes: 0 finished; 2 a mistake, explained in one line; 3 the discriminator has collapsed (--on-collapse stop);
130 / 143 stopped by SIGINT / SIGTERM; 75 stopped after --max-hours. A run is saved before it stops.
"""

from __future__ import annotations

from electra import interrupts  # imported first, so that Ctrl-C during the other imports ends the script

# isort: split

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from electra import cli
from electra.config import DEMO, PRETRAIN_RECIPES, SIZES, EncoderConfig, PretrainConfig, follow_horizon
from electra.files import lock_folder
from electra.pretrain.masking import Batch
from electra.pretrain.objective import OBJECTIVES, Counts, count
from electra.pretrain.run import (
    EXIT_COLLAPSED,
    Journal,
    Run,
    Update,
    announce,
    choose_launch,
    open_run,
    prepare_demo,
    stays_stopped,
)
from electra.training import devices
from electra.training.cuda_graph import Replayed
from electra.training.optimizer import apply_update, schedule_factor, set_update
from electra.training.ranks import Ranks, started


def parse(argv: Sequence[str] | None) -> tuple[PretrainConfig, EncoderConfig, list[str]]:
    """Read the command line: flags override the size, the size overrides the recipe, the recipe overrides defaults.

    Returns:
        The settings, the discriminator's shape, and lines for the user on what differs from recipe and size.
    """
    parser = cli.Parser("train_pretrain.py", description=__doc__.split("\n")[0])
    cli.add_settings(parser, PretrainConfig, "the run (table 5 of Mercier; sizes other than small are ours)")
    cli.add_settings(parser, EncoderConfig, "the discriminator's shape; these flags override --size")
    given = vars(parser.parse_args(argv))
    base = {} if "data" in given else DEMO
    asked = {**base, **given}
    names = PretrainConfig(**{name: asked[name] for name in ("recipe", "size") if name in asked})
    named = {"recipe": names.recipe, "size": names.size}
    presets = (PRETRAIN_RECIPES[names.recipe], SIZES[names.size], base, named)
    preset, preset_shape = cli.build(PretrainConfig, *presets), cli.build(EncoderConfig, *presets)
    followed, lines = follow_horizon(preset, given)
    config, shape = cli.build(PretrainConfig, *presets, followed, given), cli.build(EncoderConfig, *presets, given)
    if config.seq_length > shape.max_position_embeddings:
        limit = f"--max-position-embeddings {shape.max_position_embeddings}"
        raise ValueError(f"--seq-length {config.seq_length} is above {limit}; lower it, or raise the limit")
    changes = cli.differences(preset, config) + cli.differences(preset_shape, shape)
    notes = [change for change in changes if change.split()[0] not in followed]
    return config, shape, [f"not as in recipe {config.recipe}, size {config.size}: {x}" for x in notes] + lines


def updates(run: Run, ranks: Ranks) -> Iterator[Update]:
    """The training loop: make the updates that are left in a run, and yield the numbers of each update."""
    config, state, device = run.config, run.state, ranks.device
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    dtype, objective = devices.resolve_precision(config.precision, device), OBJECTIVES[config.objective]
    is_compiled, is_recorded = choose_launch(config, device)

    def compute_losses(rows: Batch, counts: Counts) -> Tensor:
        losses = objective(model, rows, counts, config.gen_weight, config.disc_weight)
        return torch.stack((losses.loss, losses.masked_lm_loss, losses.disc_loss))

    if is_compiled:  # torch 2.11 compiles no function that returns a named tuple, torch 2.6 none that slices one
        compute_losses = torch.compile(compute_losses, dynamic=False)

    def forward_backward(rows: Batch, counts: Counts) -> Tensor:
        with devices.autocast(device, dtype):
            losses = compute_losses(rows, counts)
        scaler.scale(losses[0]).backward()
        return losses.detach()

    passes = Replayed(forward_backward, model.parameters()) if is_recorded else forward_backward
    first, last = ranks.share(config.batch_size)
    for batch in run.batches:
        factor = schedule_factor(config.schedule, state.step, config.num_train_steps, config.num_warmup_steps)
        set_update(optimizer, config.learning_rate * factor, config.bias_correction)
        counts = Counts(*(number.to(device, non_blocking=True) for number in count(batch)))
        losses = torch.zeros(3, device=device)
        for index, (start, end) in enumerate(devices.micro_batches(first, last, config.micro_batch_size)):
            devices.seed_dropout(config.seed, state.step, ranks.rank, index)
            losses = losses + passes(batch.rows(start, end, device), counts)
        ranks.sum_gradients(model.parameters())
        scaler.unscale_(optimizer)
        grad_norm, skipped = apply_update(optimizer, scaler, model.parameters(), config.max_grad_norm)  # clip, step
        state.count_update(skipped)  # raises state.step by 1
        yield Update(losses, config.learning_rate * factor, grad_norm)


def main(argv: Sequence[str] | None = None) -> int:
    """Pre-train and return the exit code; without `argv`, the flags are read from the command line."""
    config, shape, notes = parse(argv)
    run_dir = Path(config.run_dir)
    with started(config.device) as ranks, lock_folder(run_dir) if ranks.is_first else nullcontext():
        config = dataclasses.replace(config, precision=devices.choose_precision(config.precision, ranks.device))
        if config.data == DEMO["data"]:
            ranks.first_does(lambda: prepare_demo(Path(config.data)))
        if config.batch_size < ranks.world_size:
            raise ValueError(f"--batch-size: expected a row for each of {ranks.world_size} ranks; raise it")
        devices.set_deterministic(config.deterministic)
        devices.keep_freed_memory()
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        run = open_run(config, shape, ranks)
        place = f"{run_dir} is at update {run.state.step:,} of {run.last_step:,}"
        if stays_stopped(run):
            ranks.say(f"collapsed: {place}; --on-collapse warn goes on")
            return EXIT_COLLAPSED
        if run.state.step >= run.last_step:
            ranks.say(f"finished: {place}")
            return 0
        if ranks.is_first:
            announce(run, ranks, notes, sys.argv)
        journal = Journal(run, ranks)
        for update in updates(run, ranks):
            journal.record(update)
            if journal.is_over:
                break
        return journal.exit_code


if __name__ == "__main__":
    interrupts.loaded()
    cli.run(main)
