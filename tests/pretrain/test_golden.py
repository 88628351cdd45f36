"""Numbers that a change of the code must not move by accident: parameter counts, and five updates of a tiny model."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from electra.config import EncoderConfig
from electra.model.networks import Discriminator, Electra, Generator, SequenceClassifier, count_parameters
from electra.pretrain.objective import count, replaced_token_detection
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from tests.conftest import tiny_batch, tiny_electra

MEANT = (
    "If the change was meant to move these numbers: say in the commit what moved them and why it is right, run "
    "tests/test_parity.py, copy the numbers printed below into tests/test_golden.py, and treat checkpoints and results "
    "from before as another model's. If it was not meant to: it changes the mathematics, find out where."
)


def small(generator_size: float) -> Electra:
    with torch.device("meta"):
        return Electra(EncoderConfig(), generator_size)


def own_parameters(network: Generator | Discriminator) -> int:
    """What a network has besides the embeddings it shares."""
    return count_parameters(network) - count_parameters(network.encoder.embeddings)


def layer_parameters(width: int, inner: int) -> int:
    """Queries, keys, values and output; two dense layers; two LayerNorms: weights and biases."""
    return 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width


def test_the_small_models_components_have_the_published_counts():
    model = small(0.25)
    embeddings, encoder = model.discriminator.encoder.embeddings, model.discriminator.encoder
    found = {
        "word table": embeddings.word.weight.numel(),
        "position table": embeddings.position.weight.numel(),
        "token types": embeddings.token_type.weight.numel(),
        "embedding norm": count_parameters(embeddings.norm),
        "embeddings": count_parameters(embeddings),
        "discriminator projection": count_parameters(encoder.projection),
        "discriminator layer": count_parameters(encoder.layers[0]),
        "discriminator encoder": count_parameters(encoder),
        "discriminator": count_parameters(model.discriminator),
        "generator projection": count_parameters(model.generator.encoder.projection),
        "generator layer": count_parameters(model.generator.encoder.layers[0]),
        "joint": count_parameters(model),
    }
    assert found == {
        "word table": 30_522 * 128,
        "position table": 512 * 128,
        "token types": 2 * 128,
        "embedding norm": 2 * 128,
        "embeddings": 3_972_864,
        "discriminator projection": 129 * 256,
        "discriminator layer": 789_760,
        "discriminator encoder": 13_483_008,
        "discriminator": 13_549_057,
        "generator projection": 129 * 64,
        "generator layer": 49_984,
        "joint": 14_196_219,
    }, MEANT
    assert (layer_parameters(256, 1024), layer_parameters(64, 256)) == (789_760, 49_984)


@pytest.mark.parametrize(
    ("generator_size", "hidden", "heads", "inner", "generator_only", "joint"),
    [
        (0.125, 32, 1, 128, 191_578, 13_740_635),
        (0.25, 64, 1, 256, 647_162, 14_196_219),
        (0.5, 128, 2, 512, 2_426_554, 15_975_611),
        (0.75, 192, 3, 768, 5_418_618, 18_967_675),
        (1.0, 256, 4, 1024, 9_573_818, 23_122_875),
    ],
)
def test_each_generator_size_has_the_published_counts(
    generator_size: float, hidden: int, heads: int, inner: int, generator_only: int, joint: int
):
    model = small(generator_size)
    layers = model.generator.encoder.layers
    shape = EncoderConfig().generator(generator_size)
    assert (shape.hidden_size, shape.num_heads, shape.intermediate_size) == (hidden, heads, inner)
    assert len(layers) == 12
    assert all(count_parameters(layer) == layer_parameters(hidden, inner) for layer in layers), MEANT
    assert (own_parameters(model.generator), count_parameters(model)) == (generator_only, joint), MEANT
    projection = 0 if hidden == 128 else 129 * hidden
    head = (hidden + 1) * 128 + 2 * 128 + 30_522  # dense, LayerNorm, bias of the softmax
    assert own_parameters(model.generator) == projection + 12 * layer_parameters(hidden, inner) + head


def test_the_releases_classifier_of_two_classes_has_the_published_count():
    with torch.device("meta"):
        model = SequenceClassifier(EncoderConfig(), 2, pooling="first", head="linear")
        report = SequenceClassifier(EncoderConfig(), 2, pooling="mean", head="mlp")
    assert count_parameters(model) == 13_483_522, MEANT
    assert count_parameters(report) == 13_483_522 + 257 * 256, MEANT


GOLDEN: dict[str, dict[str, float | list[float]]] = {
    "mercier": {
        "masked_lm_loss": [4.6424085, 4.842851, 4.6254912, 4.5517222, 4.3990339],
        "disc_loss": [0.52599664, 0.52768648, 0.43585329, 0.44169474, 0.43300978],
        "grad_norm": [101.22408, 49.171309, 18.855667, 21.153904, 18.919933],
        "embeddings": 7.2566697,
        "discriminator layers": 19.907246,
        "discriminator projection": 3.9230566,
        "discriminator head": 4.9234732,
        "generator layers": 11.149358,
        "generator projection": 3.3273661,
        "generator head": 3.8495033,
        "generator bias": 0.27476776,
    },
    "official": {
        "masked_lm_loss": [4.6424085, 4.7951056, 4.4494197, 4.2753684, 4.4605658],
        "disc_loss": [0.52599664, 0.68197148, 0.45593352, 0.46202831, 0.40343023],
        "grad_norm": [101.22408, 62.24432, 30.639382, 26.598742, 1.5519954],
        "embeddings": 7.5177257,
        "discriminator layers": 20.967107,
        "discriminator projection": 4.1008819,
        "discriminator head": 5.0414124,
        "generator layers": 11.409637,
        "generator projection": 3.3872527,
        "generator head": 3.8620962,
        "generator bias": 0.9071694,
    },
}


def part_norms(model: Electra) -> dict[str, float]:
    """The Euclidean norm of each component's parameters."""
    parts: dict[str, nn.Module] = {
        "embeddings": model.discriminator.encoder.embeddings,
        "discriminator layers": model.discriminator.encoder.layers,
        "discriminator projection": model.discriminator.encoder.projection,
        "discriminator head": nn.ModuleList([model.discriminator.dense, model.discriminator.output]),
        "generator layers": model.generator.encoder.layers,
        "generator projection": model.generator.encoder.projection,
        "generator head": nn.ModuleList([model.generator.dense, model.generator.norm]),
    }
    norms = {
        name: sum(float((p.detach() ** 2).sum()) for p in part.parameters()) ** 0.5 for name, part in parts.items()
    }
    return {**norms, "generator bias": float(model.generator.bias.detach().norm())}


@pytest.mark.parametrize("recipe", ["mercier", "official"])
def test_five_updates_from_past_warm_up_give_the_recorded_numbers(recipe: str):
    is_official = recipe == "official"
    model = tiny_electra()
    optimizer = make_optimizer(parameter_groups(model.named_parameters(), 0.01), 0.9, 0.999, 1e-6)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    schedule = "warmup_times_linear" if is_official else "warmup_then_linear"
    found: dict[str, list[float]] = {"masked_lm_loss": [], "disc_loss": [], "grad_norm": []}
    for step in range(20, 25):
        batch = tiny_batch([23, 17, 5, 23, 11], 23, step)
        set_update(optimizer, 1e-2 * schedule_factor(schedule, step, 60, 10), bias_correction=not is_official)
        losses = replaced_token_detection(model, batch, count(batch), 1.0, 50.0)
        losses.loss.backward()
        grad_norm, _ = apply_update(optimizer, scaler, model.parameters(), 1.0)
        found["masked_lm_loss"].append(losses.masked_lm_loss.item())
        found["disc_loss"].append(losses.disc_loss.item())
        found["grad_norm"].append(grad_norm.item())
    numbers = {**found, **part_norms(model)}
    assert numbers.keys() == GOLDEN[recipe].keys()
    for name, expected in GOLDEN[recipe].items():
        assert numbers[name] == pytest.approx(expected, rel=1e-4), (
            f"{name} moved. {MEANT}\n{json.dumps(numbers, indent=4)}"
        )
