"""Pre-train ELECTRA.

    python train_pretrain.py                       # demo on a CPU: minutes, no data needed
    python train_pretrain.py --data owt_shards/    # ELECTRA-Small as in table 5: 1M updates, 16.4 G tokens

The same command goes on where it was stopped. The last line names the checkpoint it leaves.
Under torchrun the same script uses every GPU of one machine or many.
Exit codes: 0 finished; 2 a mistake in what was asked, or a run that went wrong, said in one line; 3 the discriminator
collapsed (--on-collapse stop). After saving: 130 / 143 stopped by SIGINT / SIGTERM, 75 --max-hours are over.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from electra import cli
from electra.config import DEMO, DEMO_VOCAB_SIZE, PRETRAIN_RECIPES, SIZES, EncoderConfig, PretrainConfig
from electra.data.demo_text import standard_library_documents
from electra.data.prepare import prepare_documents
from electra.data.shards import open_shards
from electra.data.windows import WindowSampler
from electra.files import FormatError, lock_folder, write_json
from electra.model.flops import update_flops
from electra.model.networks import Electra, MaskedLM, count_parameters, initialize_weights
from electra.pretrain.collapse import COLLAPSE_RULE, is_collapsed
from electra.pretrain.evaluation import HeldOut
from electra.pretrain.example import corrupted_example
from electra.pretrain.masking import Batch, count_targets, make_batch
from electra.pretrain.objective import OBJECTIVES, Counts, Losses, count
from electra.seeding import generator
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, tokenizer_file
from electra.training.checkpoint import (
    check_same_tokenizer,
    load_networks,
    newest_good,
    resolve_checkpoint,
    step_folder,
)
from electra.training.cuda_graph import Replayed
from electra.training.devices import (
    StopRequests,
    ahead,
    autocast,
    choose_precision,
    keep_freed_memory,
    micro_batches,
    peak_memory_bytes,
    resolve_precision,
    seed_dropout,
    set_deterministic,
)
from electra.training.log import Meter, RunLog, evaluations, metrics_until, provenance
from electra.training.optimizer import (
    apply_update,
    gradient_norms,
    make_optimizer,
    parameter_groups,
    schedule_factor,
    set_update,
)
from electra.training.ranks import Ranks, started
from electra.training.state import TrainingState, check_same_run

EXIT_COLLAPSED = 3


def parse(argv: Sequence[str] | None) -> tuple[PretrainConfig, EncoderConfig, list[str]]:
    """Flags over size over recipe over defaults; without `--data`, the demo's settings stand below the flags.

    Returns:
        The settings, the discriminator's shape, and in words what differs from recipe and size.
    """
    parser = cli.Parser("train_pretrain.py", description=__doc__.split("\n")[0])
    cli.add_settings(parser, PretrainConfig, "the run (table 5 of the report)")
    cli.add_settings(parser, EncoderConfig, "the discriminator's shape, over --size")
    given = vars(parser.parse_args(argv))
    base = {} if "data" in given else DEMO
    names = PretrainConfig(**{key: value for key, value in {**base, **given}.items() if key in ("recipe", "size")})
    named = {"recipe": names.recipe, "size": names.size}
    presets = (PRETRAIN_RECIPES[names.recipe], SIZES[names.size], base, named)
    config, shape = cli.build(PretrainConfig, *presets, given), cli.build(EncoderConfig, *presets, given)
    if config.seq_length > shape.max_position_embeddings:
        raise ValueError(
            f"--seq-length: expected at most --max-position-embeddings {shape.max_position_embeddings}, "
            f"found {config.seq_length}; lower it or raise that"
        )
    presets_alone = cli.build(PretrainConfig, *presets), cli.build(EncoderConfig, *presets)
    changes = cli.differences(presets_alone[0], config) + cli.differences(presets_alone[1], shape)
    return config, shape, changes


def build(
    config: PretrainConfig, shape: EncoderConfig, settings: Mapping[str, Any], device: torch.device
) -> TrainingState:
    """The model at its starting values, and its optimizer: step 0."""
    model = Electra(shape, config.generator_size) if config.objective == "rtd" else MaskedLM(shape)
    initialize_weights(model, generator(config.seed, "init"), shape.initializer_range)
    model.to(device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay)
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    is_fp16 = resolve_precision(config.precision, device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**11, enabled=is_fp16)
    none_skipped = torch.zeros((), device=device)
    tokenizer = tokenizer_file(Path(config.data))
    return TrainingState(settings, tokenizer, model, optimizer, scaler, none_skipped, none_skipped.clone())


class Run(NamedTuple):
    """An opened run folder: what the loop needs and does not change."""

    state: TrainingState
    batches: Iterator[Batch]
    held_out: HeldOut
    windows: WindowSampler
    tokenizer: Tokenizer | WordPieceTokenizer
    last_step: int


def open_run(config: PretrainConfig, shape: EncoderConfig, ranks: Ranks) -> Run:
    """Open the data, refuse what does not belong to the run folder, and resume from its newest good checkpoint."""
    data, run_dir = Path(config.data), Path(config.run_dir)
    shards, tokenizer = open_shards(data), load_tokenizer(data)
    shape = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size)
    settings = {
        "encoder": dataclasses.asdict(shape),
        "pretrain": dataclasses.asdict(config),
        "tokenizer": tokenizer.fingerprint,
        "shards": shards.fingerprint,
    }
    if shards.tokenizer_fingerprint != tokenizer.fingerprint:
        raise FormatError(
            f"{data}: expected the tokenizer its shards were made with ({shards.tokenizer_fingerprint[:12]}), found "
            f"another ({tokenizer.fingerprint[:12]}; another version of the regex package counts); prepare them again"
        )
    state = build(config, shape, settings, ranks.device)
    if checkpoint := ranks.first_does(lambda: newest_good(run_dir)):
        check_same_run(checkpoint, settings)
        state.restore(checkpoint)
    elif config.init_from:
        source = resolve_checkpoint(Path(config.init_from))
        check_same_tokenizer(source, tokenizer, data)
        load_networks(source, state.model, config.init_networks, settings)
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
    windows = sampler(shards, batch_size=config.batch_size)
    held_out_windows = sampler(open_shards(data, "held-out"), batch_size=config.eval_rows)
    held_out_batch = mask(held_out_windows.sample(0), "held-out")
    held_out = HeldOut(held_out_batch, held_out_windows.documents(0), tokenizer.special_ids)
    last_step = min(config.stop_after or config.num_train_steps, config.num_train_steps)

    def make(step: int) -> Batch:
        batch = mask(windows.sample(step), step)
        return batch.pinned() if ranks.device.type == "cuda" else batch

    batches = ahead(make, range(state.step, last_step))
    return Run(state, batches, held_out, windows, tokenizer, last_step)


def cost_line(config: PretrainConfig, run: Run) -> str:
    """The matrix-product FLOPs of this run, and how many updates of the other objective cost the same."""
    shape = cli.build(EncoderConfig, run.state.settings["encoder"])
    num_targets = count_targets(config.seq_length, config.mask_prob)
    cost = {
        name: update_flops(shape, config.generator_size, config.seq_length, num_targets, config.batch_size, name)
        for name in OBJECTIVES
    }
    other = "mlm" if config.objective == "rtd" else "rtd"
    equal = run.last_step * cost[config.objective] / cost[other]
    total = run.last_step * cost[config.objective]
    return (
        f"{total:.3g} matrix-product FLOP in {run.last_step:,} updates; --objective {other} makes {equal:,.0f} of them"
    )


def evaluate(config: PretrainConfig, run: Run, log: RunLog, norms: Mapping[str, float], device: torch.device) -> bool:
    """Held-out metrics into the log, an example for the reader; True if the discriminator has collapsed."""
    step, dtype = run.state.step, resolve_precision(config.precision, device)
    predictions, metrics = run.held_out.evaluate(run.state.model, OBJECTIVES[config.objective], device, dtype)
    log.held_out(step, {**metrics, **norms})
    if predictions.verdicts and (config.log_examples or step == run.last_step):
        log.say("the held-out row in which the discriminator is surest of a replaced token:")
        log.say(corrupted_example(run.held_out.batch, predictions.verdicts, run.tokenizer))
    collapsed = is_collapsed(log.evaluations, config.num_warmup_steps)
    if collapsed:
        log.say(f"WARNING: the discriminator has collapsed: {COLLAPSE_RULE}")
    return collapsed


def hopeless(config: PretrainConfig, run: Run, losses: Losses) -> FloatingPointError:
    """What is said when too many updates in a row were skipped; the weights saved are those from before."""
    step, state = run.state.step, run.state
    folder = step_folder(Path(config.run_dir), step)
    return FloatingPointError(
        f"update {step:,}: expected finite gradients, found none for {state.num_skipped_in_a_row:.0f} updates in "
        f"a row (now documents {run.windows.documents(step - 1)[:4]}..., masked_lm_loss {losses.masked_lm_loss:.4g}, "
        f"disc_loss {losses.disc_loss:.4g}); weights from before them are in {folder}: "
        "go on with another --run-dir, --init-from that, and a lower --learning-rate or --precision fp32"
    )


Backward = Callable[..., Losses]


def make_backward(config: PretrainConfig, state: TrainingState, device: torch.device) -> Backward:
    """Both passes over some rows: (*Batch, *Counts) on the device -> their losses, the gradients added up."""
    on_cuda, dtype = device.type == "cuda", resolve_precision(config.precision, device)
    is_recorded = on_cuda and config.cuda_graph and not config.deterministic  # its scatter may wait
    is_compiled = config.compile == "on" or (config.compile == "auto" and on_cuda and not is_recorded)
    objective = OBJECTIVES[config.objective]
    if is_compiled:
        objective = torch.compile(objective, dynamic=False)

    def backward(*tensors: Any) -> Losses:
        rows, counts = Batch(*tensors[:-2]), Counts(*tensors[-2:])
        with autocast(device, dtype):
            losses = objective(state.model, rows, counts, config.gen_weight, config.disc_weight)
        state.scaler.scale(losses.loss).backward()
        return Losses(*(loss.detach() for loss in losses[:3]))

    return Replayed(backward, state.model.parameters()) if is_recorded else backward


class Update(NamedTuple):
    """What an update leaves to look at; tensors stay on the device and nobody has waited for them."""

    losses: Losses  # of its last micro-batch, good until the next update
    learning_rate: float
    grad_norm: Tensor  # scalar, before clipping
    norms: dict[str, float]  # of each network's gradients, where asked for
    skipped: Tensor  # scalar, 1.0 if a gradient was not finite, else 0.0


def make_update(
    config: PretrainConfig,
    state: TrainingState,
    backward: Backward,
    batch: Batch,
    ranks: Ranks,
    meter: Meter,
    wants_norms: bool = False,
) -> Update:
    """One update: its rate, its gradients micro-batch by micro-batch, their sum over the ranks, the step."""
    step, device = state.step, ranks.device
    factor = schedule_factor(config.schedule, step, config.num_train_steps, config.num_warmup_steps)
    set_update(state.optimizer, config.learning_rate * factor, config.bias_correction)
    counts = Counts(*(number.to(device, non_blocking=True) for number in count(batch)))
    for index, (start, end) in enumerate(micro_batches(*ranks.share(config.batch_size), config.micro_batch_size)):
        seed_dropout(config.seed, step, ranks.rank, index)
        losses = backward(*batch.rows(start, end, device), *counts)
        meter.add(**losses._asdict())
    ranks.sum_gradients(state.model.parameters())
    state.scaler.unscale_(state.optimizer)
    norms = gradient_norms(state.model) if wants_norms else {}
    grad_norm, skipped = apply_update(state.optimizer, state.scaler, state.model.parameters(), config.max_grad_norm)
    return Update(losses, config.learning_rate * factor, grad_norm, norms, skipped)


def pretrain(config: PretrainConfig, run: Run, ranks: Ranks) -> int:
    """The loop: every update from where the run stands to its last step; returns the exit code."""
    run_dir, device, state = Path(config.run_dir), ranks.device, run.state
    backward = make_backward(config, state, device)
    first_row, last_row = ranks.share(config.batch_size)
    log = RunLog(run_dir, state.step, run.last_step, config.track, enabled=ranks.is_first)
    meter = Meter(state.step, (last_row - first_row) * config.seq_length)
    stop, began = StopRequests(config.max_hours), time.monotonic() - state.elapsed_seconds
    milestones = {round(fraction * config.num_train_steps) for fraction in config.milestones}
    if state.step in milestones and ranks.is_first:
        state.save_milestone(run_dir)
    for batch in run.batches:
        is_evaluated = (state.step + 1) % config.eval_every == 0
        update = make_update(config, state, backward, batch, ranks, meter, wants_norms=is_evaluated)
        state.count_update(update.skipped, time.monotonic() - began)
        log.advance(state.step)

        at_end = state.step == run.last_step
        exit_code = 0 if at_end else stop.exit_code  # at the end nothing is left to stop
        with meter.pause():
            if (state.step % config.eval_every == 0 or at_end) and ranks.is_first:
                collapsed = evaluate(config, run, log, update.norms, device)
                exit_code = exit_code or (EXIT_COLLAPSED if collapsed and config.on_collapse == "stop" else 0)
            exit_code = ranks.agree(exit_code)
        is_hopeless = False
        if state.step % config.log_every == 0 or at_end or exit_code:
            is_hopeless = state.num_skipped_in_a_row.item() >= config.max_skipped
            record = {**ranks.add_up(meter.read(state.step)), "learning_rate": update.learning_rate}
            record |= {"grad_norm": update.grad_norm.item(), "num_skipped": state.num_skipped.item()}
            record |= {"elapsed_seconds": state.elapsed_seconds, "peak_memory_bytes": peak_memory_bytes(device)}
            log.training(state.step, record)
        with meter.pause():
            if (state.step % config.checkpoint_every == 0 or at_end or exit_code or is_hopeless) and ranks.is_first:
                state.save(run_dir, config.keep_checkpoints)
            if state.step in milestones and ranks.is_first:
                state.save_milestone(run_dir)
        if is_hopeless:
            raise hopeless(config, run, update.losses)
        if exit_code and not at_end:
            how = "--on-collapse warn" if exit_code == EXIT_COLLAPSED else "the same command"
            log.say(f"stopped at update {state.step:,} of {run.last_step:,}; {how} goes on")
            return exit_code
    log.say(f"finished: {step_folder(run_dir, state.step)}")
    return exit_code


def stays_stopped(config: PretrainConfig, step: int) -> bool:
    """Whether the run collapsed by this update and is to stop there, however often it is started."""
    found = evaluations(metrics_until(Path(config.run_dir), step))
    return config.on_collapse == "stop" and is_collapsed(found, config.num_warmup_steps)


def prepare_demo(data: Path) -> None:
    """Shards of the documentation inside this Python, unless they are there."""
    if not (data / "manifest.json").exists():
        print("preparing a demo on the documentation inside this Python", flush=True)
        prepare_documents(standard_library_documents(), data, vocab_size=DEMO_VOCAB_SIZE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; `argv` defaults to the command line's."""
    config, shape, changes = parse(argv)
    data, run_dir = Path(config.data), Path(config.run_dir)
    with started(config.device) as ranks, lock_folder(run_dir) if ranks.is_first else nullcontext():
        config = dataclasses.replace(config, precision=choose_precision(config.precision, ranks.device))
        if config.data == DEMO["data"]:
            ranks.first_does(lambda: prepare_demo(data))
        if config.batch_size < ranks.world_size:
            found = f"found {config.batch_size} for {ranks.world_size}"
            raise ValueError(f"--batch-size: expected a row for each rank, {found}; raise it")
        set_deterministic(config.deterministic)
        keep_freed_memory()
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        run = open_run(config, shape, ranks)
        place = f"{run_dir} is at update {run.state.step:,} of {run.last_step:,}"
        if stays_stopped(config, run.state.step):
            if ranks.is_first:
                print(f"collapsed: {place}; --on-collapse warn goes on")
            return EXIT_COLLAPSED
        if run.state.step >= run.last_step:
            if ranks.is_first:
                print(f"finished: {place}")
            return 0
        if ranks.is_first:
            for change in changes:
                print(f"not as in recipe {config.recipe}, size {config.size}: {change}")
            print(cost_line(config, run))
            write_json(run_dir / "config.json", run.state.settings)
            write_json(run_dir / "provenance.json", provenance(sys.argv, ranks.device))
            print(
                f"{run_dir}: {count_parameters(run.state.model):,} parameters, "
                f"{run.windows.shards.num_tokens:,} training tokens, {ranks.world_size} x {ranks.device.type}, "
                f"{resolve_precision(config.precision, ranks.device)}, "
                f"from update {run.state.step:,} to {run.last_step:,}",
                flush=True,
            )
        return pretrain(config, run, ranks)


if __name__ == "__main__":
    cli.run(main)
