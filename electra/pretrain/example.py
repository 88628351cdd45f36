"""A sentence with the discriminator's answer under each token, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from electra.cli import printable
from electra.pretrain.evaluation import DiscriminatorOutputs, real_tokens
from electra.pretrain.masking import Batch
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer

CALLED = 0.5
"""Above this probability a token is called replaced."""

_RED, _PLAIN = "\033[1;31m", "\033[0m"
_LABELS = ("shown", "was", "replaced?")


def corrupted_example(batch: Batch, outputs: DiscriminatorOutputs, tokenizer: Tokenizer | WordPieceTokenizer) -> str:
    """The row in which the discriminator is surest of a replacement, right or wrong, as `marked_sentence` shows it."""
    is_real = real_tokens(batch)
    row = int(np.where(is_real, outputs.logits, -np.inf).max(axis=1).argmax())
    originals, shown, logits = (
        values[row][is_real[row]] for values in (batch.input_ids.numpy(), outputs.corrupted, outputs.logits)
    )
    probs = 1 / (1 + np.exp(-logits))
    return marked_sentence([*map(tokenizer.token, originals)], [*map(tokenizer.token, shown)], probs.tolist())


def _visible(token: str) -> str:
    """A token without its leading space and without control characters; escaped where it is white space alone."""
    return printable(token.strip()) or repr(token)[1:-1]


def marked_sentence(
    originals: Sequence[str],
    shown: Sequence[str],
    replaced_probs: Sequence[float],
    *,
    width: int = 100,
    colored: bool = False,
) -> str:
    """A sentence with the discriminator's answer under each token, in lines of at most `width` columns.

    Args:
        originals: the tokens as they were, as text.
        shown: the tokens the discriminator saw; where some differ the originals stand in a line between.
        replaced_probs: its probability that each token was replaced, from 0 to 1.
        width: of the terminal; a token that is wider has its lines to itself.
        colored: tokens called replaced in a terminal's red.
    """
    blocks: list[list[list[str]]] = []  # of columns, of their cells from the top
    used = width
    for original, token, prob in zip(originals, shown, replaced_probs, strict=True):
        was = f"({_visible(original)})" if original != token else ""
        cells = [_visible(token), was, f"{prob:.0%}" + "!" * (prob > CALLED)]
        size = max(map(len, cells))
        if used + 1 + size > width:
            blocks.append([])
            used = 10
        used += 1 + size
        red, plain = (_RED, _PLAIN) if colored and prob > CALLED else ("", "")
        blocks[-1].append([f"{red}{cell.ljust(size)}{plain}" if cell else " " * size for cell in cells])
    lines = []
    for block in blocks:
        for label, row in zip(_LABELS, zip(*block, strict=True), strict=True):
            if label != "was" or any(cell.strip() for cell in row):
                lines.append(f"{label:>10} {' '.join(row)}".rstrip())
        lines.append("")
    return "\n".join(lines)
