"""When a discriminator counts as collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLLAPSED_EVALUATIONS = 3
COLLAPSED_AUC = 0.53
COLLAPSED_LOSS_SHARE = 0.98
COLLAPSE_RULE = (
    f"in {COLLAPSED_EVALUATIONS} evaluations in a row disc_auc is below {COLLAPSED_AUC} with its whole 95 % interval "
    f"and disc_loss at or above {COLLAPSED_LOSS_SHARE} of what always answering 'original' scores"
)


def is_collapsed(evaluations: Sequence[Mapping[str, Any]], num_warmup_steps: int) -> bool:
    """Whether the discriminator has learned nothing, by `COLLAPSE_RULE`, after warm-up.

    A low AUC alone is no collapse: the recorded run `mini-128` was below 0.53 at 7 of 20 evaluations.

    Args:
        evaluations: held-out records of a run in order, each with `step`.
    """
    last = [record for record in evaluations if record["step"] > num_warmup_steps][-COLLAPSED_EVALUATIONS:]
    return len(last) == COLLAPSED_EVALUATIONS and all(_knows_nothing(record) for record in last)


def _knows_nothing(record: Mapping[str, float | None]) -> bool:
    high, loss, floor = (record.get(name) for name in ("disc_auc_high", "disc_loss", "disc_base_rate_entropy"))
    if high is None or loss is None or floor is None:  # no discriminator, or numbers that were not finite
        return False
    return high < COLLAPSED_AUC and loss >= COLLAPSED_LOSS_SHARE * floor
