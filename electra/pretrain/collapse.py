"""The rule by which a discriminator counts as collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLLAPSED_EVALUATIONS = 3
COLLAPSED_AUC = 0.53
COLLAPSED_LOSS_SHARE = 0.98
COLLAPSE_RULE = (
    f"in {COLLAPSED_EVALUATIONS} evaluations in a row the 95 % interval of disc_auc is below {COLLAPSED_AUC} and "
    f"disc_loss is at least {COLLAPSED_LOSS_SHARE} of the loss of always predicting the replaced fraction"
)


def is_collapsed(evaluations: Sequence[Mapping[str, Any]], num_warmup_steps: int) -> bool:
    """Whether the last `COLLAPSED_EVALUATIONS` held-out records of a run, after warm-up, fulfil `COLLAPSE_RULE`.

    A low AUC alone is no collapse: run `m128-rows128` was below 0.53 at 7 of 20 evaluations, and ended at 0.549.
    """
    last = [record for record in evaluations if record["step"] > num_warmup_steps][-COLLAPSED_EVALUATIONS:]
    return len(last) == COLLAPSED_EVALUATIONS and all(_is_blind(record) for record in last)


def _is_blind(record: Mapping[str, float | None]) -> bool:
    high, loss, floor = (record.get(name) for name in ("disc_auc_high", "disc_loss", "disc_base_rate_entropy"))
    if high is None or loss is None or floor is None:  # no discriminator, or numbers that were not finite
        return False
    return high < COLLAPSED_AUC and loss >= COLLAPSED_LOSS_SHARE * floor
