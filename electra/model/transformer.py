"""The encoder: shared embeddings, an optional projection, post-norm transformer layers.

Legend for shapes, in the whole package: B batch rows, L row length in tokens, P target slots of a row,
V vocabulary size, E embedding width, D hidden width, H attention heads.

Source: release model/modeling.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.config import EncoderConfig

LAYER_NORM_EPS = 1e-12  # Source: release, tf.contrib layer_norm; PyTorch's default is 1e-5
DROPOUT_LEVELS = 2**16


def drop(values: Tensor, prob: float) -> Tensor:
    """Apply dropout: zero each value (any shape, any float dtype) with probability `prob` in [0, 1), scale the others.

    On a CPU one 64-bit draw decides on four values: an update with torch's own dropout would take 1.23 times as long.
    The probability is rounded to a multiple of 2^-16 (0.1 to 0.100006); the scale uses the rounded value.
    """
    if prob == 0.0 or values.is_cuda:
        return F.dropout(values, prob)
    num_dropped = round(prob * DROPOUT_LEVELS)
    draws = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[: values.numel()].view(values.shape)
    keep = torch.empty_like(values, requires_grad=False)
    torch.ge(levels, num_dropped - DROPOUT_LEVELS // 2, out=keep)
    return values * keep.mul_(DROPOUT_LEVELS / (DROPOUT_LEVELS - num_dropped))


class Dropout(nn.Module):
    """Module that applies `drop` in training, and returns its input unchanged in evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return drop(values, self.p) if self.training else values


class Embeddings(nn.Module):
    """Sum of word, position and token-type vectors of width E, then LayerNorm, then dropout.

    Generator and discriminator share one instance, its LayerNorm included.
    Source: release modeling.py:187-218, 511-559.
    """

    def __init__(self, vocab_size: int, max_positions: int, num_types: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(max_positions, width)
        self.token_type = nn.Embedding(num_types, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(B, L) int64 ids; (B, L) int64 types, or None for type 0 everywhere -> (B, L, E)."""
        length, limit = input_ids.shape[1], self.position.num_embeddings
        if length > limit:
            raise ValueError(f"input_ids: expected rows of at most {limit} tokens, found {length}; shorten them")
        types = self.token_type.weight[0] if token_type_ids is None else self.token_type(token_type_ids)
        return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length] + types))


def attend(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, dropout: float) -> Tensor:
    """Return softmax(query key^T / sqrt(d)) value, with dropout on the probabilities; all are (B, H, L, d).

    `key_mask` is (B, 1, 1, L) bool, True at keys that may be attended to, or None for all. CUDA uses torch's function.
    On a CPU the products are written out, because an update with torch's function takes 1.27 times as long.
    """
    if query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask, torch.finfo(scores.dtype).min)
    return drop(scores.softmax(dim=-1), dropout) @ value


class SelfAttention(nn.Module):
    """Multi-head attention; queries, keys and values come from one matrix product."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)  # rows: queries, keys, values; heads in order inside each
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, L, D); key mask as in `attend` -> (B, L, D)."""
        B, L, D = hidden.shape
        qkv = self.qkv(hidden).view(B, L, 3, self.num_heads, D // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # three of (B, H, L, D / H)
        mixed = attend(query, key, value, key_mask, self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).reshape(B, L, D))


class FeedForward(nn.Module):
    """Dense, exact (erf) GELU, dense. Source: release modeling.py:298-311."""

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner_width)
        self.outer = nn.Linear(inner_width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.outer(F.gelu(self.inner(hidden)))


class TransformerLayer(nn.Module):
    """Post-norm layer: dropout, residual sum and LayerNorm follow attention, and follow the feed-forward part."""

    def __init__(self, width: int, num_heads: int, inner_width: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, num_heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.feed_forward = FeedForward(width, inner_width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, L, D); key mask as in `attend` -> (B, L, D)."""
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, key_mask)))
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))


class Encoder(nn.Module):
    """Embeddings, a projection E -> D, and the layers.

    The projection follows the embeddings' LayerNorm and dropout. It has a bias and no activation, and does not exist
    if E == D. Source: release modeling.py:224-228.
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings) -> None:
        super().__init__()
        E, D = config.embedding_size, config.hidden_size
        self.embeddings = embeddings
        self.projection = nn.Linear(E, D) if E != D else nn.Identity()
        sizes = D, config.num_heads, config.intermediate_size
        rates = config.hidden_dropout_prob, config.attention_dropout_prob
        self.layers = nn.ModuleList(TransformerLayer(*sizes, *rates) for _ in range(config.num_layers))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """(B, L) int64 ids -> (B, L, D), a contextual vector for each token; vectors of padding have no meaning.

        `attention_mask` is (B, L) bool, True at real tokens, or None if no row is padded. `token_type_ids` is (B, L)
        int64, or None for type 0 everywhere.
        """
        key_mask = None if attention_mask is None else attention_mask[:, None, None, :]
        hidden: Tensor = self.projection(self.embeddings(input_ids, token_type_ids))
        for layer in self.layers:
            hidden = layer(hidden, key_mask)
        return hidden
