"""A pre-training run before its first update: open the data, check the run folder, resume or start, say what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from electra.config import DEMO_VOCAB_SIZE, EncoderConfig, PretrainConfig
from electra.data.demo_text import standard_library_documents
from electra.data.prepare import prepare_documents
from electra.data.shards import MANIFEST, Shards, open_shards
from electra.data.windows import WindowSampler
from electra.files import FormatError, write_json
from electra.model.flops import update_flops
from electra.model.networks import Electra, MaskedLM, count_parameters, initialize_weights
from electra.pretrain.collapse import is_collapsed
from electra.pretrain.evaluation import HeldOut, unigram_counts
from electra.pretrain.masking import Batch, count_targets, make_batch
from electra.pretrain.objective import OBJECTIVES
from electra.seeding import generator
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, tokenizer_file
from electra.training.checkpoint import check_same_tokenizer, load_networks, newest_good, resolve_checkpoint
from electra.training.devices import PRETRAIN_FP16_SCALE, ahead, resolve_precision
from electra.training.log import evaluations, metrics_until, provenance
from electra.training.optimizer import make_optimizer, parameter_groups
from electra.training.ranks import Ranks
from electra.training.state import TrainingState, check_same_run


class Run(NamedTuple):
    """An opened run."""

    config: PretrainConfig
    state: TrainingState
    shape: EncoderConfig  # the discriminator's, with the tokenizer's vocabulary
    batches: Iterator[Batch]  # one an update, from where the run stands to its last step
    held_out: HeldOut
    windows: WindowSampler
    tokenizer: Tokenizer | WordPieceTokenizer
    last_step: int  # the step at which this start ends: `stop_after` or the horizon

    def is_evaluated(self, step: int) -> bool:
        """Whether the model is evaluated after the update that leads to `step`."""
        return step % self.config.eval_every == 0 or step == self.last_step


def open_run(config: PretrainConfig, shape: EncoderConfig, ranks: Ranks) -> Run:
    """Open a run at step 0, or at its newest good checkpoint.

    Raises:
        FileNotFoundError, FormatError: the data, the checkpoint or the weights to start from are missing or damaged,
            or do not belong together.
    """
    shards, tokenizer = open_data(Path(config.data))
    shape = dataclasses.replace(shape, vocab_size=tokenizer.vocab_size)
    settings = {
        "encoder": dataclasses.asdict(shape),
        "pretrain": dataclasses.asdict(config),
        "tokenizer": tokenizer.fingerprint,
        "shards": shards.fingerprint,
    }
    state = new_state(config, shape, settings, ranks.device)
    resume_or_start(state, config, tokenizer, ranks)
    ids, seed = tokenizer.special_ids, config.seed
    mask = partial(
        make_batch, special_ids=ids, mask_prob=config.mask_prob, mask_token_prob=config.mask_token_prob, seed=seed
    )
    sampler = partial(WindowSampler, special_ids=ids, seq_length=config.seq_length, seed=seed, sampling=config.sampling)
    windows = sampler(shards, batch_size=config.batch_size)
    held_out_windows = sampler(open_shards(Path(config.data), "held-out"), batch_size=config.eval_rows)
    held_out_batch = mask(held_out_windows.sample(0), "held-out")
    counts = unigram_counts(shards, tokenizer.vocab_size)
    held_out = HeldOut(held_out_batch, held_out_windows.documents(0), ids, counts)

    def make(step: int) -> Batch:
        batch = mask(windows.sample(step), step)
        return batch.pinned() if ranks.device.type == "cuda" else batch

    last_step = min(config.stop_after or config.num_train_steps, config.num_train_steps)
    batches = ahead(make, range(state.step, last_step))
    return Run(config, state, shape, batches, held_out, windows, tokenizer, last_step)


def open_data(data: Path) -> tuple[Shards, Tokenizer | WordPieceTokenizer]:
    """The training shards of a folder, and the tokenizer that they were made with."""
    shards, tokenizer = open_shards(data), load_tokenizer(data)
    if shards.tokenizer_fingerprint != tokenizer.fingerprint:
        raise FormatError(
            f"{data}: expected the tokenizer its shards were made with ({shards.tokenizer_fingerprint[:12]}), found "
            f"another ({tokenizer.fingerprint[:12]}; another version of the regex package counts); prepare them again"
        )
    return shards, tokenizer


def new_state(
    config: PretrainConfig, shape: EncoderConfig, settings: Mapping[str, Any], device: torch.device
) -> TrainingState:
    """The model at its starting values, and its optimizer: step 0."""
    model = Electra(shape, config.generator_size) if config.objective == "rtd" else MaskedLM(shape)
    initialize_weights(model, generator(config.seed, "init"), shape.initializer_range)
    model.to(device)
    groups = parameter_groups(model.named_parameters(), config.weight_decay)
    optimizer = make_optimizer(groups, config.adam_beta1, config.adam_beta2, config.adam_epsilon)
    is_fp16 = resolve_precision(config.precision, device) == torch.float16
    scaler = torch.amp.GradScaler(device.type, init_scale=PRETRAIN_FP16_SCALE, enabled=is_fp16)
    return TrainingState(settings, tokenizer_file(Path(config.data)), model, optimizer, scaler)


def resume_or_start(
    state: TrainingState, config: PretrainConfig, tokenizer: Tokenizer | WordPieceTokenizer, ranks: Ranks
) -> None:
    """Load the run folder's newest good checkpoint, or the weights that a new run starts from, if it names any."""
    if checkpoint := ranks.first_does(lambda: newest_good(Path(config.run_dir))):
        check_same_run(checkpoint, state.settings)
        state.restore(checkpoint)
    elif config.init_from:
        source = resolve_checkpoint(Path(config.init_from))
        check_same_tokenizer(source, tokenizer, Path(config.data))
        load_networks(source, state.model, config.init_networks, state.settings)


def choose_launch(config: PretrainConfig, device: torch.device) -> tuple[bool, bool]:
    """Whether the objective is compiled, and whether both passes are recorded as a CUDA graph."""
    on_cuda = device.type == "cuda"
    # the deterministic scatter may synchronise with the host, which graph capture forbids
    is_recorded = on_cuda and config.cuda_graph and not config.deterministic
    return config.compile == "on" or (config.compile == "auto" and on_cuda and not is_recorded), is_recorded


def prepare_demo(data: Path) -> None:
    """Shards of the documentation inside this Python, unless they are there."""
    if not (data / MANIFEST).exists():
        print("preparing a demo on the documentation inside this Python", flush=True)
        prepare_documents(standard_library_documents(), data, vocab_size=DEMO_VOCAB_SIZE)


def stays_stopped(run: Run) -> bool:
    """Whether the run has collapsed before and stops where it is, however often it is started."""
    config = run.config
    found = evaluations(metrics_until(Path(config.run_dir), run.state.step))
    return config.on_collapse == "stop" and is_collapsed(found, config.num_warmup_steps)


def cost_line(run: Run) -> str:
    """The matrix-product FLOPs of this run, and how many updates of the other objective cost the same."""
    config = run.config
    num_targets = count_targets(config.seq_length, config.mask_prob)
    size, length, rows = config.generator_size, config.seq_length, config.batch_size
    cost = {name: update_flops(run.shape, size, length, num_targets, rows, name) for name in OBJECTIVES}
    other = "mlm" if config.objective == "rtd" else "rtd"
    total = run.last_step * cost[config.objective]
    equal = total / cost[other]
    return (
        f"{total:.3g} matrix-product FLOP in {run.last_step:,} updates; --objective {other} makes {equal:,.0f} of them"
    )


def announce(run: Run, ranks: Ranks, notes: Sequence[str], command: Sequence[str]) -> None:
    """Print what is about to be trained, and write the settings and the provenance into the run folder.

    Args:
        notes: lines on where the settings differ from their presets.
        command: the command line, for the provenance.
    """
    run_dir, state = Path(run.config.run_dir), run.state
    print("\n".join([*notes, cost_line(run)]))
    write_json(run_dir / "config.json", state.settings)
    write_json(run_dir / "provenance.json", provenance(command, ranks.device))
    print(
        f"{run_dir}: {count_parameters(state.model):,} parameters, {run.windows.shards.num_tokens:,} training tokens, "
        f"{ranks.world_size} x {ranks.device.type}, {resolve_precision(run.config.precision, ranks.device)}, "
        f"from update {state.step:,} to {run.last_step:,}",
        flush=True,
    )
