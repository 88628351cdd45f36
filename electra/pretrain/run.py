"""A pre-training run without the updates themselves: open or resume it; after an update, log, evaluate, save."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from electra.config import DEMO, DEMO_VOCAB_SIZE, EncoderConfig, PretrainConfig
from electra.data.demo_text import standard_library_documents
from electra.data.prepare import prepare_documents
from electra.data.shards import MANIFEST, open_shards
from electra.data.windows import WindowSampler
from electra.files import FormatError, write_json
from electra.model.flops import update_flops
from electra.model.networks import Electra, MaskedLM, count_parameters, initialize_weights
from electra.pretrain.collapse import COLLAPSE_RULE, is_collapsed
from electra.pretrain.evaluation import HeldOut, unigram_counts
from electra.pretrain.example import corrupted_example
from electra.pretrain.masking import Batch, count_targets, make_batch
from electra.pretrain.objective import OBJECTIVES, PretrainLosses
from electra.seeding import random_stream
from electra.tokenizer.wordpiece import AnyTokenizer, load_tokenizer, tokenizer_file
from electra.training import cuda_graph, devices
from electra.training.checkpoint import MILESTONES, load_networks, newest_good, resolve_checkpoint, step_folder
from electra.training.log import PROVENANCE, RunLog, evaluations, provenance, read_metrics
from electra.training.optimizer import make_optimizer, parameter_groups
from electra.training.ranks import Ranks
from electra.training.state import TrainingState, check_same_run

EXIT_COLLAPSED = 3


class Run(NamedTuple):
    """A pre-training run that is ready for its next update."""

    config: PretrainConfig
    state: TrainingState
    shape: EncoderConfig  # the discriminator's, with the tokenizer's vocabulary
    batches: Iterator[Batch]  # one for each update that is left
    held_out: HeldOut
    windows: WindowSampler
    tokenizer: AnyTokenizer
    last_step: int  # the run ends here: `stop_after` or `num_train_steps`


def open_run(config: PretrainConfig, shape: EncoderConfig, ranks: Ranks) -> Run:
    """Open a run at its newest good checkpoint, or at step 0.

    Raises FileNotFoundError or FormatError if data, checkpoint or weights are missing or damaged, or do not fit.
    """
    data = Path(config.data)
    shards, held_out_shards, tokenizer = open_shards(data), open_shards(data, "held-out"), load_tokenizer(data)
    if shards.tokenizer_fingerprint != tokenizer.fingerprint:
        problem = "the shards were made with another tokenizer, or with another version of the regex package"
        raise FormatError(f"{data}: {problem}; prepare them again")
    shape = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size)
    settings = {
        "encoder": dataclasses.asdict(shape),
        "pretrain": dataclasses.asdict(config),
        "tokenizer": tokenizer.fingerprint,
        "shards": shards.fingerprint,
        "held_out": held_out_shards.fingerprint,
    }
    state = new_state(config, shape, settings, ranks.device)
    resume_or_start(state, config, tokenizer, ranks)
    ids, seed, length = tokenizer.special_ids, config.seed, config.seq_length
    sampler = partial(WindowSampler, special_ids=ids, seq_length=length, seed=seed, sampling=config.sampling)
    mask = partial(
        make_batch, special_ids=ids, mask_prob=config.mask_prob, mask_token_prob=config.mask_token_prob, seed=seed
    )
    held_out_windows = sampler(held_out_shards, batch_size=config.eval_rows)
    counts = unigram_counts(shards, tokenizer.vocab_size)
    held_out = HeldOut(mask(held_out_windows.sample(0), "held-out"), held_out_windows.documents(0), ids, counts)
    windows = sampler(shards, batch_size=config.batch_size)

    def make(step: int) -> Batch:
        batch = mask(windows.sample(step), step)
        return batch.pinned() if ranks.device.type == "cuda" else batch

    last_step = min(config.stop_after or config.num_train_steps, config.num_train_steps)
    batches = devices.ahead(make, range(state.step, last_step))
    return Run(config, state, shape, batches, held_out, windows, tokenizer, last_step)


def new_state(
    config: PretrainConfig, shape: EncoderConfig, settings: Mapping[str, Any], device: torch.device
) -> TrainingState:
    """Return the state at step 0: the model with its starting weights, and its optimizer."""
    model = Electra(shape, config.generator_size) if config.objective == "rtd" else MaskedLM(shape)
    initialize_weights(model, random_stream(config.seed, "init"), shape.initializer_range)
    model.to(device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay)
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    is_fp16 = devices.resolve_precision(config.precision, device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, init_scale=devices.PRETRAIN_FP16_SCALE, enabled=is_fp16)
    return TrainingState(settings, tokenizer_file(Path(config.data)), model, optimizer, scaler)


def resume_or_start(state: TrainingState, config: PretrainConfig, tokenizer: AnyTokenizer, ranks: Ranks) -> None:
    """Load the run's newest good checkpoint; a new run loads the weights of `--init-from`, if given."""
    if config.init_networks != "both" and not config.init_from:
        raise ValueError("--init-networks: expected --init-from, found none; name a checkpoint to start from")
    run_dir = Path(config.run_dir)
    checkpoint = ranks.first_does(lambda: newest_good(run_dir))
    if checkpoint or any((run_dir / MILESTONES).glob("step-*[1-9]*")):  # a mistake before both does not bind the folder
        check_same_run(checkpoint or run_dir, state.settings)
    if checkpoint:
        state.restore(checkpoint)
    elif config.init_from:
        source = resolve_checkpoint(Path(config.init_from))
        if load_tokenizer(source).fingerprint != tokenizer.fingerprint:
            remedy = f"prepare the data with --tokenizer {source}"
            raise FormatError(f"{config.data}: the tokenizer is not that of {source}; {remedy}")
        load_networks(source, state.model, config.init_networks, state.settings)


def choose_launch(config: PretrainConfig, device: torch.device) -> tuple[bool, bool]:
    """Whether to compile the objective, and whether to record an update's passes as a CUDA graph."""
    is_compiled = config.compile == "on" or (config.compile == "auto" and device.type == "cuda")
    if is_compiled and not devices.has_c_compiler():
        raise ValueError("--compile: expected a C compiler (gcc or clang), found none; install one, or --compile off")
    # the deterministic scatter may synchronise with the host, which graph capture forbids
    return is_compiled, config.cuda_graph and not config.deterministic and device.type == cuda_graph.DEVICE_TYPE


def prepare_demo(data: Path) -> None:
    """Make shards from the documentation of Python's standard library, unless they exist."""
    if not (data / MANIFEST).exists():
        print("preparing a demo on the documentation of Python's standard library", flush=True)
        prepare_documents(standard_library_documents(), data, vocab_size=DEMO_VOCAB_SIZE)


def stays_stopped(run: Run) -> bool:
    """Whether the run has collapsed before and `on_collapse` is "stop"."""
    found = evaluations(read_metrics(Path(run.config.run_dir), run.state.step))
    return run.config.on_collapse == "stop" and is_collapsed(found, run.config.num_warmup_steps)


def cost_line(run: Run) -> str:
    """Return a line: the FLOPs of this run, and how many updates of the other objective (rtd or mlm) cost as much."""
    config, num_targets = run.config, count_targets(run.config.seq_length, run.config.mask_prob)
    sizes = run.shape, config.generator_size, config.seq_length, num_targets, config.batch_size
    other = "mlm" if config.objective == "rtd" else "rtd"
    total = run.last_step * update_flops(*sizes, config.objective)
    return (
        f"{total:.3g} matrix-product FLOP in {run.last_step:,} updates; "
        f"--objective {other} makes {total / update_flops(*sizes, other):,.0f} at this cost"
    )


def announce(run: Run, ranks: Ranks, notes: Sequence[str], command: Sequence[str]) -> None:
    """Print `notes` and a summary of the run; write its settings and provenance (with `command`) into its folder."""
    run_dir, state = Path(run.config.run_dir), run.state
    write_json(run_dir / "config.json", state.settings)
    write_json(run_dir / PROVENANCE, provenance(command, ranks.device))
    summary = (
        f"{run_dir}: {count_parameters(state.model):,} parameters, {run.windows.shards.num_tokens:,} training tokens, "
        f"{ranks.world_size} x {ranks.device.type}, {devices.resolve_precision(run.config.precision, ranks.device)}, "
        f"from update {state.step:,} to {run.last_step:,}"
    )
    print("\n".join([*notes, cost_line(run), summary]), flush=True)


# --- after each update -----------------------------------------------------------------------------------------


class Update(NamedTuple):
    """The numbers of one update. The tensors are on the device; reading a tensor waits for the update to finish."""

    losses: Tensor  # (3,), of this rank's rows: the first three fields of `PretrainLosses`
    learning_rate: float
    grad_norm: Tensor  # scalar, before clipping


def milestone_steps(config: PretrainConfig) -> set[int]:
    """Return the steps whose weights are never deleted."""
    return {round(fraction * config.num_train_steps) for fraction in config.milestones}


class Journal:
    """Logs, evaluates and saves a run. Only the first rank writes; all ranks stop at the same update."""

    def __init__(self, run: Run, ranks: Ranks) -> None:
        config, state = run.config, run.state
        self._run, self._ranks, self._run_dir = run, ranks, Path(config.run_dir)
        self._log = RunLog(self._run_dir, state.step, run.last_step, config.track, enabled=ranks.is_first)
        self._stop = devices.StopRequests(config.max_hours)
        self._began = time.monotonic() - state.elapsed_seconds
        self._start_interval()
        self._resumed = time.monotonic()
        self.is_over, self.exit_code = False, 0
        self._save_milestone()

    def _start_interval(self) -> None:
        """Start the sums for the next training record."""
        self._first_step, self._seconds = self._run.state.step, 0.0  # time of updates, without evaluation and saving
        self._losses = torch.zeros(3, device=self._ranks.device)

    def record(self, update: Update) -> None:
        """Evaluate, log and save if due at this step; sets `is_over` and `exit_code` if the run ends here.

        Raises FloatingPointError if gradients were not finite in too many updates in a row.
        """
        config, state, now = self._run.config, self._run.state, time.monotonic()
        state.elapsed_seconds = now - self._began
        self._seconds += now - self._resumed
        self._losses = self._losses + update.losses
        self._log.advance(state.step)
        is_last, is_finite = state.step == self._run.last_step, True
        exit_code = 0 if is_last else self._stop.exit_code
        if self._ranks.is_first and (is_last or state.step % config.eval_every == 0):
            has_collapsed = self._evaluate()
            exit_code = exit_code or (EXIT_COLLAPSED if has_collapsed and config.on_collapse == "stop" else 0)
        exit_code = self._ranks.agree(exit_code)
        if is_last or exit_code or state.step % config.log_every == 0:
            self._log.training(state.step, self._training_record(update))
            self._start_interval()
            is_finite = bool(state.num_skipped_in_a_row < config.max_skipped)
        self.is_over, self.exit_code = is_last or exit_code != 0 or not is_finite, exit_code
        self._save_milestone()  # first: a run that has its last checkpoint is finished
        if self._ranks.is_first and (self.is_over or state.step % config.checkpoint_every == 0):
            state.save(self._run_dir, config.keep_checkpoints)
        self._resumed = time.monotonic()
        if not is_finite:
            raise FloatingPointError(
                f"update {state.step:,}: gradients were not finite in {float(state.num_skipped_in_a_row):.0f} updates "
                f"in a row; the weights of {step_folder(self._run_dir, state.step)} are from before them: go on with "
                "another --run-dir, --init-from that folder, and a lower --learning-rate or --precision fp32"
            )
        if is_last:
            if self._run.config.data == DEMO["data"]:
                self._log.say('next: python -m electra detect --checkpoint mini "TEXT", or train on your own text')
            self._log.say(f"finished: {step_folder(self._run_dir, state.step)}")
        elif self.is_over:
            how = "--on-collapse warn" if exit_code == EXIT_COLLAPSED else "the same command"
            self._log.say(f"stopped at update {state.step:,} of {self._run.last_step:,}; {how} goes on")

    def _training_record(self, update: Update) -> dict[str, float]:
        state, num_updates = self._run.state, self._run.state.step - self._first_step
        first_row, end_row = self._ranks.share(self._run.config.batch_size)
        num_tokens = num_updates * (end_row - first_row) * self._run.config.seq_length
        losses = dict(zip(PretrainLosses._fields[:3], (self._losses / num_updates).tolist(), strict=True))
        return {
            **self._ranks.add_up({**losses, "tokens_per_second": num_tokens / self._seconds}),
            "learning_rate": update.learning_rate,
            "grad_norm": update.grad_norm.item(),
            "num_skipped": float(state.num_skipped),
            "elapsed_seconds": state.elapsed_seconds,
            "peak_memory_bytes": devices.peak_memory_bytes(self._ranks.device),
        }

    def _evaluate(self) -> bool:
        """Log held-out metrics and show an example; returns whether the discriminator has collapsed."""
        run, config, device = self._run, self._run.config, self._ranks.device
        dtype = devices.resolve_precision(config.precision, device)
        outputs, metrics = run.held_out.evaluate(run.state.model, OBJECTIVES[config.objective], device, dtype)
        self._log.held_out(run.state.step, metrics)
        if outputs.discriminator and (config.log_examples or run.state.step == run.last_step):
            self._log.say("a held-out row; below each token is the discriminator's probability that it was replaced:")
            self._log.say(corrupted_example(run.held_out.batch, outputs.discriminator, run.tokenizer))
        has_collapsed = is_collapsed(self._log.evaluations, config.num_warmup_steps)
        if has_collapsed:
            self._log.say(f"WARNING: the discriminator has collapsed: {COLLAPSE_RULE}")
        return has_collapsed

    def _save_milestone(self) -> None:
        if self._ranks.is_first and self._run.state.step in milestone_steps(self._run.config):
            self._run.state.save_milestone(self._run_dir)
