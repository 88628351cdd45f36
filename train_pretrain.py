"""Pre-train ELECTRA.

    python train_pretrain.py                       # demo on a CPU: minutes, no data needed
    python train_pretrain.py --data owt_shards/    # ELECTRA-Small as in table 5: 1M updates, 16.4 G tokens

The same command goes on where it was stopped. The last line names the checkpoint it leaves.
Under torchrun the same script uses every GPU of one machine or many.
Exit codes: 0 finished; 2 a mistake in what was asked, or a run that went wrong, said in one line; 3 the discriminator
collapsed (--on-collapse stop). After saving: 130 / 143 stopped by SIGINT / SIGTERM, 75 --max-hours are over.
"""

from __future__ import annotations

from electra import interrupts  # first: Ctrl-C while the rest loads ends in one line

# isort: split

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from electra import cli
from electra.config import DEMO, PRETRAIN_RECIPES, SIZES, EncoderConfig, PretrainConfig, follow_horizon
from electra.files import lock_folder
from electra.pretrain.journal import EXIT_COLLAPSED, Journal, Update
from electra.pretrain.masking import Batch
from electra.pretrain.objective import OBJECTIVES, Counts, Losses, count
from electra.pretrain.run import Run, announce, choose_launch, open_run, prepare_demo, stays_stopped
from electra.training.cuda_graph import Replayed
from electra.training.devices import (
    autocast,
    choose_precision,
    keep_freed_memory,
    micro_batches,
    resolve_precision,
    seed_dropout,
    set_deterministic,
)
from electra.training.optimizer import apply_update, gradient_norms, schedule_factor, set_update
from electra.training.ranks import Ranks, started


def parse(argv: Sequence[str] | None) -> tuple[PretrainConfig, EncoderConfig, list[str]]:
    """Flags over size over recipe over defaults; without `--data`, the demo's settings stand below the flags.

    Returns:
        The settings, the discriminator's shape, and lines that say what differs from recipe and size.
    """
    parser = cli.Parser("train_pretrain.py", description=__doc__.split("\n")[0])
    cli.add_settings(parser, PretrainConfig, "the run (table 5 of Mercier; sizes other than small are ours)")
    cli.add_settings(parser, EncoderConfig, "the discriminator's shape, over --size")
    given = vars(parser.parse_args(argv))
    base = {} if "data" in given else DEMO
    names = PretrainConfig(**{key: value for key, value in {**base, **given}.items() if key in ("recipe", "size")})
    named = {"recipe": names.recipe, "size": names.size}
    presets = (PRETRAIN_RECIPES[names.recipe], SIZES[names.size], base, named)
    preset, preset_shape = cli.build(PretrainConfig, *presets), cli.build(EncoderConfig, *presets)
    followed, lines = follow_horizon(preset, given)
    config, shape = cli.build(PretrainConfig, *presets, followed, given), cli.build(EncoderConfig, *presets, given)
    if config.seq_length > shape.max_position_embeddings:
        raise ValueError(
            f"--seq-length: expected at most --max-position-embeddings {shape.max_position_embeddings}, "
            f"found {config.seq_length}; lower it or raise that"
        )
    changes = cli.differences(preset, config) + cli.differences(preset_shape, shape)
    asked = [change for change in changes if change.split()[0] not in followed]
    return config, shape, [f"not as in recipe {config.recipe}, size {config.size}: {x}" for x in asked] + lines


def updates(run: Run, ranks: Ranks) -> Iterator[Update]:
    """The loop: one update after another, from where the run stands to its last step."""
    config, state, device = run.config, run.state, ranks.device
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    dtype, objective = resolve_precision(config.precision, device), OBJECTIVES[config.objective]
    is_compiled, is_recorded = choose_launch(config, device)
    if is_compiled:
        objective = torch.compile(objective, dynamic=False)

    def forward_backward(rows: Batch, counts: Counts) -> Losses:
        with autocast(device, dtype):
            losses = objective(model, rows, counts, config.gen_weight, config.disc_weight)
        scaler.scale(losses.loss).backward()
        return Losses(*(loss.detach() for loss in losses[:3]))

    passes = Replayed(forward_backward, model.parameters()) if is_recorded else forward_backward
    for batch in run.batches:
        factor = schedule_factor(config.schedule, state.step, config.num_train_steps, config.num_warmup_steps)
        set_update(optimizer, config.learning_rate * factor, config.bias_correction)
        counts = count(batch).to(device)
        losses = Losses(*torch.zeros(3, device=device))
        for index, (start, end) in enumerate(micro_batches(*ranks.share(config.batch_size), config.micro_batch_size)):
            seed_dropout(config.seed, state.step, ranks.rank, index)
            losses = losses.plus(passes(batch.rows(start, end, device), counts))
        ranks.sum_gradients(model.parameters())
        scaler.unscale_(optimizer)
        norms = gradient_norms(model) if run.is_evaluated(state.step + 1) else {}
        grad_norm, skipped = apply_update(optimizer, scaler, model.parameters(), config.max_grad_norm)  # clip, step
        state.count_update(skipped)  # one step further
        yield Update(losses, config.learning_rate * factor, grad_norm, norms)


def pretrain(run: Run, ranks: Ranks) -> int:
    """Make the updates; after each, log, evaluate, save and stop where it is due. Returns the exit code."""
    journal = Journal(run, ranks)
    for update in updates(run, ranks):
        journal.write(update)
        journal.save()
        if journal.is_over:
            break
    return journal.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; `argv` defaults to the command line's."""
    config, shape, notes = parse(argv)
    run_dir = Path(config.run_dir)
    with started(config.device) as ranks, lock_folder(run_dir) if ranks.is_first else nullcontext():
        config = dataclasses.replace(config, precision=choose_precision(config.precision, ranks.device))
        if config.data == DEMO["data"]:
            ranks.first_does(lambda: prepare_demo(Path(config.data)))
        if config.batch_size < ranks.world_size:
            found = f"found {config.batch_size} for {ranks.world_size}"
            raise ValueError(f"--batch-size: expected a row for each rank, {found}; raise it")
        set_deterministic(config.deterministic)
        keep_freed_memory()
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
        return pretrain(run, ranks)


if __name__ == "__main__":
    interrupts.loaded()
    cli.run(main)
