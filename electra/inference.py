"""What one does with a trained model, starting with showing what it sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from electra.corruption import Batch
from electra.evaluation import Verdicts, real_tokens
from electra.tokenizer import Tokenizer
from electra.wordpiece import WordPieceTokenizer


def corrupted_example(batch: Batch, verdicts: Verdicts, tokenizer: Tokenizer | WordPieceTokenizer) -> str:
    """The row in which the discriminator is surest of a replacement, right or wrong, as `marked_sentence` shows it."""
    row = int(np.where(real_tokens(batch), verdicts.logits, -np.inf).max(axis=1).argmax())
    is_real = real_tokens(batch)[row]
    originals, shown = batch.input_ids[row].numpy()[is_real], verdicts.corrupted[row][is_real]
    probs = 1 / (1 + np.exp(-verdicts.logits[row][is_real]))
    return marked_sentence([*map(tokenizer.token, originals)], [*map(tokenizer.token, shown)], probs.tolist())


def _visible(token: str) -> str:
    """A token without its leading space; escaped where it is white space alone."""
    return token.strip() or repr(token)[1:-1]


def marked_sentence(
    originals: Sequence[str], shown: Sequence[str], replaced_probs: Sequence[float], width: int = 100
) -> str:
    """A corrupted sentence with the discriminator's verdict under each token, wrapped to `width` columns.

    Args:
        originals: the tokens as they were, as text.
        shown: the tokens the discriminator saw; where they differ the original stands in a line between.
        replaced_probs: its probability that each token was replaced, from 0 to 1.
    """
    columns = []
    for original, token, prob in zip(originals, shown, replaced_probs, strict=True):
        was = f"({_visible(original)})" if original != token else ""
        verdict = f"{prob:.0%}" + ("!" if prob > 0.5 else "")
        cells = [_visible(token), was, verdict]
        columns.append([cell.ljust(max(map(len, cells))) for cell in cells])
    blocks: list[list[list[str]]] = [[]]
    for column in columns:
        if sum(len(c[0]) + 1 for c in blocks[-1]) + len(column[0]) > width:
            blocks.append([])
        blocks[-1].append(column)
    labels = ("shown", "was", "replaced?")
    lines = []
    for block in blocks:
        for label, row in zip(labels, zip(*block, strict=True), strict=True):
            lines.append(f"{label:>10} " + " ".join(row).rstrip())
        lines.append("")
    return "\n".join(lines)
