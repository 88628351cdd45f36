"""Generator, discriminator, the pair with shared embeddings, and the classifier with a discriminator's encoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.config import EncoderConfig
from electra.model.transformer import LAYER_NORM_EPS, Dropout, Embeddings, Encoder

GLOROT = ("projection", "output")
"""Names of the dense layers with Glorot-uniform starting weights; all others are truncated-normal.

Source: release modeling.py:226, run_pretraining.py:193, classification_tasks.py:224, which pass no initializer.
"""


class Generator(nn.Module):
    """Encoder and masked-language-model head; the softmax weights are the word table itself.

    Source: release run_pretraining.py:254-268 (dense to E, GELU, LayerNorm, word table transposed, free bias).
    """

    def __init__(self, config: EncoderConfig, embeddings: Embeddings) -> None:
        super().__init__()
        self.encoder = Encoder(config, embeddings)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, eps=LAYER_NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, P) positions -> (B, P, E), input of the softmax, at these positions only.

        The softmax itself, with the word table as weights, is `pretrain.objective.FillTargets`.
        """
        hidden = self.encoder(input_ids, attention_mask).take_along_dim(positions[:, :, None], dim=1)
        return self.norm(F.gelu(self.dense(hidden)))


class Discriminator(nn.Module):
    """Encoder and replaced-token head: dense, GELU, one unit. Source: release run_pretraining.py:183-218."""

    def __init__(self, config: EncoderConfig, embeddings: Embeddings) -> None:
        super().__init__()
        self.encoder = Encoder(config, embeddings)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, L) ids -> (B, L) logits; above 0 means "replaced"."""
        hidden = self.encoder(input_ids, attention_mask)
        logits: Tensor = self.output(F.gelu(self.dense(hidden)))
        return logits.squeeze(-1)


class Electra(nn.Module):
    """The pre-training pair. Both encoders hold the same `Embeddings` module, so the tables stay shared."""

    def __init__(self, config: EncoderConfig, generator_size: float) -> None:
        super().__init__()
        embeddings = make_embeddings(config)
        self.discriminator = Discriminator(config, embeddings)
        self.generator = Generator(config.generator(generator_size), embeddings)


class MaskedLM(nn.Module):
    """BERT-Small, the control: an encoder of the discriminator's size with the generator's head."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.generator = Generator(config, make_embeddings(config))


class SequenceClassifier(nn.Module):
    """Encoder, pooling and a task head; `num_labels` is 1 for regression.

    Mercier (section 3.1): `pooling="mean", head="mlp"`, the mean over real tokens, then dropout, dense, GELU, dropout,
    dense. Release (classification_tasks.py:218-290): `pooling="first", head="linear"`.
    `transformers` (ElectraForSequenceClassification): `pooling="first", head="mlp"`.
    """

    def __init__(self, config: EncoderConfig, num_labels: int, pooling: str, head: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.encoder = Encoder(config, make_embeddings(config))
        self.dense = nn.Linear(config.hidden_size, config.hidden_size) if head == "mlp" else None
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.output = nn.Linear(config.hidden_size, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(B, L) int64 ids, bool mask, int64 types -> (B, num_labels) logits."""
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        if self.pooling == "mean":
            weights = attention_mask[:, :, None].to(hidden.dtype)
            pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        else:
            pooled = hidden[:, 0]
        pooled = self.dropout(pooled)
        if self.dense is not None:
            pooled = self.dropout(F.gelu(self.dense(pooled)))
        return self.output(pooled)


def make_embeddings(config: EncoderConfig) -> Embeddings:
    """Return new embeddings for a config; `initialize_weights` sets their starting values."""
    sizes = config.vocab_size, config.max_position_embeddings, config.type_vocab_size, config.embedding_size
    return Embeddings(*sizes, config.hidden_dropout_prob)


def _truncated_normal(rng: np.random.Generator, shape: torch.Size, std: float) -> np.ndarray:
    """Return draws of a normal distribution with deviation `std`; a draw beyond 2 `std` is drawn again."""
    draws = rng.standard_normal(shape)
    while (outside := np.abs(draws) > 2).any():
        draws[outside] = rng.standard_normal(int(outside.sum()))
    return draws * std


@torch.no_grad()
def initialize_weights(model: nn.Module, rng: np.random.Generator, std: float) -> None:
    """Set all weights to their starting values, drawn in module order; a shared module is drawn once.

    Tables and dense weights: normal(0, std), drawn again beyond 2 std. Dense layers in `GLOROT`: uniform within
    sqrt(6 / (fan_in + fan_out)). Biases: 0. LayerNorm gains: 1. Source: release modeling.py:405-407.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            if name.rsplit(".", 1)[-1] in GLOROT:
                bound = (6 / sum(module.weight.shape)) ** 0.5
                draws = rng.uniform(-bound, bound, module.weight.shape)
            else:
                draws = _truncated_normal(rng, module.weight.shape, std)
            module.weight.copy_(torch.from_numpy(draws))
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.zero_()


def count_parameters(module: nn.Module) -> int:
    """Return the number of scalar parameters of a module; a shared table counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def wide(logits: Tensor) -> Tensor:
    """Return logits in float32 or wider, so that no loss is computed in 16 bits under autocast."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
