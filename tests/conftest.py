"""Tiny fixtures; sizes are distinct primes where possible, so that swapped axes fail a test."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from electra.config import EncoderConfig
from electra.data.prepare import prepare_documents
from electra.ids import SpecialIds
from electra.model.networks import Electra, MaskedLM, initialize_weights
from electra.pretrain.masking import Batch, make_batch
from electra.seeding import random_stream
from tests.helpers.graphs import ON_CARD, pretend

ROOT = Path(__file__).resolve().parent.parent
torch.set_num_threads(1)  # the models are tiny: a second thread costs more than it gives

SPECIAL_IDS = SpecialIds(pad=0, cls=1, sep=2, mask=3)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Third-party data beside the checkout; tests that need it skip where it is not."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the third-party data folder beside the checkout")
    return folder


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_CARD)])
def recording_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A card, or a CPU with a stand-in for CUDA graphs."""
    if request.param == "cpu":
        pretend(monkeypatch)
    return torch.device(request.param, 0)


def tiny_shape(**changes: float) -> EncoderConfig:
    """A discriminator of two layers whose widths differ from each other; no dropout."""
    values: dict[str, float] = {
        "vocab_size": 89,
        "embedding_size": 11,
        "hidden_size": 26,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 37,
        "max_position_embeddings": 31,
        "hidden_dropout_prob": 0.0,
        "attention_dropout_prob": 0.0,
        "initializer_range": 0.2,
    }
    return EncoderConfig(**{**values, **changes})  # type: ignore[arg-type]


def tiny_electra(shape: EncoderConfig | None = None, generator_size: float = 0.5, seed: int = 0) -> Electra:
    """A float64 pair at its starting values."""
    shape = shape or tiny_shape()
    model = Electra(shape, generator_size)
    initialize_weights(model, random_stream(seed, "init"), shape.initializer_range)
    return model.double()


def generator_logits(model: Electra | MaskedLM, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
    """(B, L) ids, (B, P) positions, (B, L) mask -> the generator's (B, P, V) logits."""
    hidden = model.generator(input_ids, positions, mask)
    return F.linear(hidden, model.generator.encoder.embeddings.word.weight, model.generator.bias)


def random_rows(lengths: list[int], seq_length: int, vocab_size: int = 89, seed: int = 0) -> np.ndarray:
    """(B, L) int64 rows [CLS] text [SEP] padding, with `lengths` real tokens each."""
    rows = np.zeros((len(lengths), seq_length), np.int64)
    draws = np.random.default_rng(seed)
    for row, n in zip(rows, lengths, strict=True):
        row[:n] = draws.integers(4, vocab_size, n)
        row[0], row[n - 1] = SPECIAL_IDS.cls, SPECIAL_IDS.sep
    return rows


def tiny_batch(lengths: list[int], seq_length: int, *indices: int | str, seed: int = 0) -> Batch:
    """A masked batch of random rows."""
    rows = random_rows(lengths, seq_length, seed=seed)
    return make_batch(rows, *indices, special_ids=SPECIAL_IDS, mask_prob=0.15, mask_token_prob=0.85, seed=seed)


def word_salad(num_documents: int, num_words: int, seed: int = 0) -> list[str]:
    """Documents of invented words with Zipf-like frequencies and a little word order."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(1, 7))) for _ in range(200)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=num_words)) + "." for _ in range(num_documents)]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard folder: 120 documents of 40 words, 50 of them held out, a vocabulary of 331."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    prepare_documents(word_salad(120, 40), folder, vocab_size=331)
    return folder


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    """Restore signal handlers and the deterministic mode after each test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    torch.use_deterministic_algorithms(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
