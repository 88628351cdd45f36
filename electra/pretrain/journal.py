"""What follows each update of a run: a line of the log, an evaluation, a checkpoint, and whether to stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from electra.cli import EXIT_USER_ERROR
from electra.config import PretrainConfig
from electra.pretrain.collapse import COLLAPSE_RULE, is_collapsed
from electra.pretrain.example import corrupted_example
from electra.pretrain.objective import OBJECTIVES, Losses
from electra.pretrain.run import Run
from electra.training.checkpoint import step_folder
from electra.training.devices import StopRequests, peak_memory_bytes, resolve_precision
from electra.training.log import Meter, RunLog
from electra.training.ranks import Ranks

EXIT_COLLAPSED = 3
EXIT_NOT_FINITE = EXIT_USER_ERROR  # the run ends in an error of one line


class Update(NamedTuple):
    """What an update leaves to look at. Its tensors stay on the device, and nothing has waited for them."""

    losses: Losses  # of this rank's rows
    learning_rate: float
    grad_norm: Tensor  # scalar, before clipping
    norms: dict[str, float]  # of each network's gradients, at updates that are evaluated


def milestone_steps(config: PretrainConfig) -> set[int]:
    """The steps at which the weights are kept for good."""
    return {round(fraction * config.num_train_steps) for fraction in config.milestones}


class Journal:
    """Log, evaluations and checkpoints of a run. Only the first rank writes; all ranks stop at the same update."""

    def __init__(self, run: Run, ranks: Ranks) -> None:
        config, state = run.config, run.state
        self._run, self._ranks, self._run_dir = run, ranks, Path(config.run_dir)
        self._log = RunLog(self._run_dir, state.step, run.last_step, config.track, enabled=ranks.is_first)
        first, last = ranks.share(config.batch_size)
        self._meter = Meter(state.step, (last - first) * config.seq_length)
        self._stop = StopRequests(config.max_hours)
        self._began = time.monotonic() - state.elapsed_seconds
        self._exit_code: int | None = None  # None: the run goes on
        self._last_losses: Losses | None = None
        self._save_milestone()

    @property
    def is_over(self) -> bool:
        """Whether the run ends here: at its last step, or stopped before."""
        return self._exit_code is not None

    def write(self, update: Update) -> None:
        """Evaluate and log where it is due, and agree with the other ranks on whether to stop."""
        config, state = self._run.config, self._run.state
        state.elapsed_seconds, self._last_losses = time.monotonic() - self._began, update.losses
        self._meter.add(**update.losses._asdict())
        self._log.advance(state.step)
        at_end = state.step == self._run.last_step
        exit_code = 0 if at_end else self._stop.exit_code  # at the end nothing is left to stop
        with self._meter.pause():
            if self._run.is_evaluated(state.step) and self._ranks.is_first:
                collapsed = self._evaluate(update.norms)
                exit_code = exit_code or (EXIT_COLLAPSED if collapsed and config.on_collapse == "stop" else 0)
            exit_code = self._ranks.agree(exit_code)
        if state.step % config.log_every == 0 or at_end or exit_code:
            record = {**self._ranks.add_up(self._meter.read(state.step)), "learning_rate": update.learning_rate}
            record |= {"grad_norm": update.grad_norm.item(), "num_skipped": float(state.num_skipped)}
            record["elapsed_seconds"] = state.elapsed_seconds
            record["peak_memory_bytes"] = peak_memory_bytes(self._ranks.device)
            self._log.training(state.step, record)
            if state.num_skipped_in_a_row >= config.max_skipped:
                exit_code = EXIT_NOT_FINITE
        self._exit_code = exit_code if at_end or exit_code else None

    def _evaluate(self, norms: dict[str, float]) -> bool:
        """Held-out metrics into the log, an example for the reader; True if the discriminator has collapsed."""
        run, config, device = self._run, self._run.config, self._ranks.device
        dtype = resolve_precision(config.precision, device)
        outputs, metrics = run.held_out.evaluate(run.state.model, OBJECTIVES[config.objective], device, dtype)
        self._log.held_out(run.state.step, {**metrics, **norms})
        if outputs.discriminator and (config.log_examples or run.state.step == run.last_step):
            self._log.say("the held-out row in which the discriminator is surest of a replaced token:")
            self._log.say(corrupted_example(run.held_out.batch, outputs.discriminator, run.tokenizer))
        collapsed = is_collapsed(self._log.evaluations, config.num_warmup_steps)
        if collapsed:
            self._log.say(f"WARNING: the discriminator has collapsed: {COLLAPSE_RULE}")
        return collapsed

    def save(self) -> None:
        """Write a checkpoint where one is due, and at the end; and a milestone, the weights alone."""
        with self._meter.pause():
            is_due = self._run.state.step % self._run.config.checkpoint_every == 0 or self.is_over
            if is_due and self._ranks.is_first:
                self._run.state.save(self._run_dir, self._run.config.keep_checkpoints)
            self._save_milestone()

    def _save_milestone(self) -> None:
        if self._run.state.step in milestone_steps(self._run.config) and self._ranks.is_first:
            self._run.state.save_milestone(self._run_dir)

    def close(self) -> int:
        """Say how the run ended; returns the exit code.

        Raises:
            FloatingPointError: too many updates in a row had gradients that were not finite.
        """
        step, last_step = self._run.state.step, self._run.last_step
        assert self._exit_code is not None
        if self._exit_code == EXIT_NOT_FINITE:
            raise self._not_finite()
        if step == last_step:
            self._log.say(f"finished: {step_folder(self._run_dir, step)}")
        else:
            how = "--on-collapse warn" if self._exit_code == EXIT_COLLAPSED else "the same command"
            self._log.say(f"stopped at update {step:,} of {last_step:,}; {how} goes on")
        return self._exit_code

    def _not_finite(self) -> FloatingPointError:
        state, losses = self._run.state, self._last_losses
        assert losses is not None
        return FloatingPointError(
            f"update {state.step:,}: expected finite gradients, found none for {float(state.num_skipped_in_a_row):.0f} "
            f"updates in a row (now documents {self._run.windows.documents(state.step - 1)[:4]}..., "
            f"masked_lm_loss {losses.masked_lm_loss:.4g}, disc_loss {losses.disc_loss:.4g}); the weights of "
            f"{step_folder(self._run_dir, state.step)} are from before them: go on with another --run-dir, "
            "--init-from that folder, and a lower --learning-rate or --precision fp32"
        )
