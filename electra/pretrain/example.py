"""A sentence with the discriminator's verdict under each token, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from electra.pretrain.evaluation import Verdicts, real_tokens
from electra.pretrain.masking import Batch
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer

CALLED = 0.5
"""Above this probability a token is called replaced."""

_RED, _PLAIN = "\033[1;31m", "\033[0m"


def corrupted_example(batch: Batch, verdicts: Verdicts, tokenizer: Tokenizer | WordPieceTokenizer) -> str:
    """The row in which the discriminator is surest of a replacement, right or wrong, as `marked_sentence` shows it."""
    row = int(np.where(real_tokens(batch), verdicts.logits, -np.inf).max(axis=1).argmax())
    is_real = real_tokens(batch)[row]
    originals, shown = batch.input_ids[row].numpy()[is_real], verdicts.corrupted[row][is_real]
    probs = 1 / (1 + np.exp(-verdicts.logits[row][is_real]))
    return marked_sentence([*map(tokenizer.token, originals)], [*map(tokenizer.token, shown)], probs.tolist())


class _Column(NamedTuple):
    """One token's cells, equally wide, from the top."""

    cells: list[str]
    is_red: bool

    def painted(self, row: int) -> str:
        return f"{_RED}{self.cells[row]}{_PLAIN}" if self.is_red else self.cells[row]


def _visible(token: str) -> str:
    """A token without its leading space; escaped where it is white space alone."""
    return token.strip() or repr(token)[1:-1]


def marked_sentence(
    originals: Sequence[str],
    shown: Sequence[str],
    replaced_probs: Sequence[float],
    *,
    width: int = 100,
    colored: bool = False,
) -> str:
    """A sentence with the discriminator's verdict under each token, wrapped to `width` columns.

    Args:
        originals: the tokens as they were, as text.
        shown: the tokens the discriminator saw; where some differ the originals stand in a line between.
        replaced_probs: its probability that each token was replaced, from 0 to 1.
        colored: tokens called replaced in a terminal's red.
    """
    columns = []
    for original, token, prob in zip(originals, shown, replaced_probs, strict=True):
        was = f"({_visible(original)})" if original != token else ""
        cells = [_visible(token), was, f"{prob:.0%}" + ("!" if prob > CALLED else "")]
        columns.append(_Column([cell.ljust(max(map(len, cells))) for cell in cells], colored and prob > CALLED))
    blocks: list[list[_Column]] = [[]]
    for column in columns:
        if sum(len(c.cells[0]) + 1 for c in blocks[-1]) + len(column.cells[0]) > width:
            blocks.append([])
        blocks[-1].append(column)
    lines = []
    for block in blocks:
        for number, label in enumerate(("shown", "was", "replaced?")):
            if label != "was" or any(column.cells[number].strip() for column in block):
                row = " ".join(column.painted(number) for column in block)
                lines.append(f"{label:>10} {row}".rstrip())
        lines.append("")
    return "\n".join(lines)
