"""A sentence for a terminal: below each token stands the discriminator's probability that it was replaced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from electra.cli import printable
from electra.pretrain.evaluation import DiscriminatorOutputs, real_tokens
from electra.pretrain.masking import Batch
from electra.tokenizer.wordpiece import AnyTokenizer

CALLED = 0.5  # a token with a higher probability is called replaced
_RED, _PLAIN = "\033[1;31m", "\033[0m"


def corrupted_example(batch: Batch, outputs: DiscriminatorOutputs, tokenizer: AnyTokenizer) -> str:
    """Return `marked_sentence` of the row with most whole words, of rows whose likeliest token was really replaced.

    A whole word is a token of a space and letters. If no row's likeliest token was replaced, every row may be taken.
    """
    is_real = real_tokens(batch)
    likeliest = np.where(is_real, outputs.logits, -np.inf).argmax(axis=1)[:, None]
    is_found = np.take_along_axis(outputs.is_replaced & (outputs.logits > 0), likeliest, axis=1)[:, 0]
    tokens = map(tokenizer.token, range(tokenizer.vocab_size))
    is_word = np.array([token.startswith(" ") and token[1:].isalpha() for token in tokens])
    num_words = (is_word[outputs.corrupted] & is_real).sum(axis=1)
    row = int((num_words + is_found * is_real.shape[1]).argmax())
    originals, shown, logits = (
        values[row][is_real[row]] for values in (batch.input_ids.numpy(), outputs.corrupted, outputs.logits)
    )
    probs = 1 / (1 + np.exp(-logits))
    return marked_sentence([*map(tokenizer.token, originals)], [*map(tokenizer.token, shown)], probs.tolist())


def _visible(token: str) -> str:
    """Return a stripped token with control characters as escapes; a token that is only white space becomes escapes."""
    return printable(token.strip()) or repr(token)[1:-1]


def marked_sentence(
    originals: Sequence[str],
    shown: Sequence[str],
    replaced_probs: Sequence[float],
    *,
    width: int = 100,
    colored: bool = False,
) -> str:
    """Return a sentence with, under each token, its probability of being replaced; a line has at most `width` columns.

    `originals` and `shown` are the tokens before and after replacement; a middle line shows originals that differ.
    A token wider than `width` has lines of its own. If `colored`, tokens with a probability above `CALLED` are red.
    """
    blocks: list[list[list[str]]] = []  # of columns; a column has the cells of one token
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
        for label, row in zip(("shown", "was", "replaced?"), zip(*block, strict=True), strict=True):
            if label != "was" or any(cell.strip() for cell in row):
                lines.append(f"{label:>10} {' '.join(row)}".rstrip())
        lines.append("")
    return "\n".join(lines)
