"""Generator, discriminator and their ties; initial values; parameter counts from an independent count."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from electra.config import EncoderConfig
from electra.model.networks import Electra, SequenceClassifier, count_parameters, initialize_weights
from electra.pretrain.objective import count, masked_language_modeling
from electra.seeding import random_stream
from tests.conftest import tiny_batch, tiny_electra, tiny_shape


def encoder_parameters(V: int, E: int, D: int, inner: int, layers: int) -> tuple[int, int]:
    """(embedding stack, everything above it), counted from the shapes alone."""
    stack = V * E + 512 * E + 2 * E + 2 * E  # words, positions, types, LayerNorm
    projection = E * D + D if E != D else 0
    layer = 4 * (D * D + D) + (D * inner + inner) + (inner * D + D) + 2 * 2 * D
    return stack, projection + layers * layer


def test_the_small_size_has_the_papers_parameters():
    stack, above = encoder_parameters(30522, 128, 256, 1024, 12)
    _, generator_above = encoder_parameters(30522, 128, 64, 256, 12)
    discriminator = stack + above + (256 * 256 + 256) + (256 + 1)
    generator_only = generator_above + (64 * 128 + 128) + 2 * 128 + 30522
    assert (discriminator, discriminator + generator_only) == (13_549_057, 14_196_219)
    with torch.device("meta"):
        model = Electra(EncoderConfig(), 0.25)
    assert count_parameters(model.discriminator) == discriminator
    assert count_parameters(model) == discriminator + generator_only


@pytest.mark.parametrize(
    ("size", "hidden", "heads", "inner"),
    [(0.125, 32, 1, 128), (0.25, 64, 1, 256), (0.5, 128, 2, 512), (0.75, 192, 3, 768), (1.0, 256, 4, 1024)],
)
def test_the_generator_scales_in_width_and_not_in_depth(size, hidden, heads, inner):
    scaled = EncoderConfig().generator(size)
    assert (scaled.hidden_size, scaled.num_heads, scaled.intermediate_size) == (hidden, heads, inner)
    assert (scaled.num_layers, scaled.embedding_size) == (12, 128)


def storages(model: Electra) -> set[tuple[int, ...]]:
    """Data pointers of both networks' four shared tensors: one set of four if tied."""
    stacks = (model.generator.encoder.embeddings, model.discriminator.encoder.embeddings)
    tensors = ("word.weight", "position.weight", "token_type.weight", "norm.weight", "norm.bias")
    return {tuple(stack.get_parameter(name).data_ptr() for name in tensors) for stack in stacks}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_ties_are_one_storage_after_construction_conversion_copy_and_load():
    model = tiny_electra()
    names = list(model.state_dict())
    assert len(storages(model)) == 1
    assert len(storages(model.to(torch.float32))) == 1
    assert len(storages(copy.deepcopy(model))) == 1
    other = tiny_electra(seed=1).float()
    other.load_state_dict(model.state_dict())
    assert len(storages(other)) == 1
    model.compile(backend="eager")
    model.generator.compile(backend="eager")
    model.generator(torch.ones(1, 3, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)).sum().backward()
    assert len(storages(model)) == 1
    assert list(model.state_dict()) == names  # no prefix of the compiler's


def test_the_generators_softmax_is_the_word_table():
    model = tiny_electra()
    batch = tiny_batch([13, 9], 13)
    masked_language_modeling(model, batch, count(batch), 1.0, 0.0).loss.backward()
    unused = next(i for i in range(4, 89) if i not in batch.masked_ids)  # only a softmax can give it a gradient
    assert model.discriminator.encoder.embeddings.word.weight.grad[unused].all()


def by_kind(model: nn.Module) -> dict[str, list[tuple[str, nn.Module]]]:
    kinds: dict[str, list[tuple[str, nn.Module]]] = {"glorot": [], "normal": [], "norm": []}
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            kinds["norm"].append((name, module))
        elif isinstance(module, nn.Linear | nn.Embedding):
            kinds["glorot" if name.endswith(("projection", "output")) else "normal"].append((name, module))
    return kinds


def test_initial_values_are_truncated_normal_glorot_zero_and_one():
    shape = EncoderConfig(vocab_size=2003, num_layers=2)
    model = Electra(shape, 0.25)
    initialize_weights(model, random_stream(0, "init"), 0.02)
    kinds = by_kind(model)
    assert [name for name, _ in kinds["glorot"]] == [
        "discriminator.encoder.projection",
        "discriminator.output",
        "generator.encoder.projection",
    ]
    for name, module in kinds["normal"]:
        weight = module.weight.detach().numpy().astype(np.float64)
        assert np.abs(weight).max() <= 0.04 + 1e-9, name
        # sd of a normal cut at 2 sd is 0.8796 of it; 6 standard errors, chance of a false alarm < 1e-7 in all
        assert abs(weight.std() / (0.02 * 0.87963) - 1) < 6 / math.sqrt(2 * weight.size), name
    for name, module in kinds["glorot"]:
        weight = module.weight.detach().numpy().astype(np.float64)
        bound = math.sqrt(6 / sum(weight.shape))
        assert np.abs(weight).max() <= bound, name
        assert np.abs(weight).max() > 0.97 * bound, name  # 256 draws or more: missed with chance < 5e-4
    for name, module in kinds["norm"]:
        assert torch.all(module.weight == 1), name
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) > 20
    assert all(torch.all(bias == 0) for bias in biases)


def test_initial_values_depend_on_the_seed_alone():
    one, same, other = tiny_electra(seed=5), tiny_electra(seed=5), tiny_electra(seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.generator.dense.weight, other.generator.dense.weight)


def classifier(pooling: str, head: str, **changes: float) -> SequenceClassifier:
    model = SequenceClassifier(tiny_shape(**changes), 3, pooling, head)
    initialize_weights(model, random_stream(0, "init"), 0.2)
    return model.double()


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_the_classifier_pools_and_projects_as_named(pooling, head):
    model = classifier(pooling, head)
    ids = torch.tensor([[1, 44, 7, 2, 0, 0], [1, 9, 8, 7, 6, 2]])
    mask, types = ids != 0, torch.zeros_like(ids)
    hidden = model.encoder(ids, mask, types)
    pooled = torch.stack([hidden[0, :4].mean(dim=0), hidden[1].mean(dim=0)]) if pooling == "mean" else hidden[:, 0]
    if head == "mlp":
        pooled = nn.functional.gelu(pooled @ model.dense.weight.T + model.dense.bias)
    torch.testing.assert_close(model(ids, mask, types), pooled @ model.output.weight.T + model.output.bias)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_padding_never_changes_a_classification(pooling):
    model = classifier(pooling, "mlp")
    rows = torch.tensor([[1, 44, 7, 2]]), torch.tensor([[1, 44, 7, 2, 0, 0, 0]])
    short, padded = (model(ids, ids != 0, torch.zeros_like(ids)) for ids in rows)
    torch.testing.assert_close(padded, short, rtol=1e-12, atol=1e-12)
