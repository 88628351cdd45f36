"""The mathematics against an independent implementation: outputs, gradients and updates of `transformers`' ELECTRA.

The reference is written with its classes, `torch.optim.AdamW` and the formulas of the sources; only the names of
the weights come from this package (`hub_layout`), and they would not fit if they were wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.config import EncoderConfig
from electra.hub.names import CONFIG_NAMES, empty_module, to_theirs
from electra.model.networks import Electra, SequenceClassifier
from electra.pretrain.masking import Batch, make_batch
from electra.pretrain.objective import count, replaced_token_detection
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from tests.conftest import SPECIAL_IDS, random_rows, tiny_electra, tiny_shape

SMALL = EncoderConfig(hidden_dropout_prob=0.0, attention_dropout_prob=0.0)
GENERATOR_SIZES = (0.125, 0.25, 0.5, 0.75, 1.0)
MASK_PROB, MASK_TOKEN_PROB, GEN_WEIGHT, DISC_WEIGHT = 0.15, 0.85, 1.0, 50.0
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The library, or a skip by name."""
    return pytest.importorskip("transformers")


def their_shape(library: Any, kind: str, shape: EncoderConfig, **changes: Any) -> nn.Module:
    """A model without memory for its weights."""
    names = {theirs: getattr(shape, ours) for ours, theirs in CONFIG_NAMES.items()}
    with torch.device("meta"):
        return getattr(library, kind)(library.ElectraConfig(**names, **changes))


def their_model(library: Any, kind: str, shape: EncoderConfig, **changes: Any) -> nn.Module:
    """A model whose weights are to be copied in."""
    model = their_shape(library, kind, shape, **changes)
    model.to_empty(device="cpu").eval()
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.arange(buffer.shape[1]) if name.endswith("position_ids") else torch.tensor(0))
    return model


def copy_weights(part: str, ours: nn.Module, theirs: nn.Module) -> None:
    """Strictly: a weight without its counterpart on either side is an error."""
    theirs.load_state_dict(to_theirs(part, ours.state_dict()), strict=True)


def randomize(model: nn.Module) -> nn.Module:
    """Weights of a trained model's size; biases and LayerNorms away from 0 and 1, where a missing one would show."""
    draws = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        is_gain = parameter.ndim == 1 and not name.endswith("bias")
        nn.init.normal_(parameter, float(is_gain), 0.1 if parameter.ndim == 1 else 0.05, draws)
    return model.eval()


def small_electra(generator_size: float, shape: EncoderConfig = SMALL) -> Electra:
    with torch.device("meta"):
        model = Electra(shape, generator_size)
    model.to_empty(device="cpu")
    model.generator.encoder.embeddings = model.discriminator.encoder.embeddings
    randomize(model)
    return model


def padded_rows(seq_length: int, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of five rows, from full ones down to three tokens."""
    lengths = [seq_length, max(3, seq_length // 2), 3, seq_length - 1, seq_length]
    ids = torch.from_numpy(random_rows(lengths, seq_length, vocab_size))
    return ids, ids != SPECIAL_IDS.pad


LENGTHS = (5, 31, 128)


@pytest.mark.oracle
@torch.no_grad()
def test_the_discriminator_gives_their_outputs(theirs: Any):
    ours = small_electra(0.25).discriminator
    reference = their_model(theirs, "ElectraForPreTraining", SMALL)
    copy_weights("discriminator", ours, reference)
    for seq_length in LENGTHS:
        ids, mask = padded_rows(seq_length, SMALL.vocab_size)
        expected = reference(ids, attention_mask=mask.long()).logits
        assert expected[mask].std() > 0.05
        torch.testing.assert_close(ours(ids, mask)[mask], expected[mask], rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("generator_size", GENERATOR_SIZES)
@torch.no_grad()
def test_the_generator_gives_their_outputs_at_every_size(theirs: Any, generator_size: float):
    ours = small_electra(generator_size).generator
    reference = their_model(theirs, "ElectraForMaskedLM", SMALL.generator(generator_size))
    copy_weights("generator", ours, reference)
    for seq_length in LENGTHS:
        ids, mask = padded_rows(seq_length, SMALL.vocab_size)
        positions = torch.arange(seq_length)[:: 1 + seq_length // 16].flip(0).expand(len(ids), -1)
        is_real = mask.gather(1, positions)
        expected = reference(ids, attention_mask=mask.long()).logits[:, positions[0]]
        assert expected[is_real].std() > 0.1
        torch.testing.assert_close(ours(ids, positions, mask)[is_real], expected[is_real], rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("num_labels", [1, 3])
@torch.no_grad()
def test_the_classifier_gives_their_outputs_for_pairs(theirs: Any, num_labels: int):
    ours = randomize(SequenceClassifier(SMALL, num_labels, pooling="first", head="mlp"))
    reference = their_model(theirs, "ElectraForSequenceClassification", SMALL, num_labels=num_labels)
    copy_weights("classifier", ours, reference)
    for seq_length in LENGTHS:
        ids, mask = padded_rows(seq_length, SMALL.vocab_size)
        types = (torch.arange(seq_length) >= seq_length // 2).long() * mask
        expected = reference(ids, attention_mask=mask.long(), token_type_ids=types).logits
        assert expected.shape == (len(ids), num_labels)
        torch.testing.assert_close(ours(ids, mask, types), expected, rtol=0, atol=1e-5)


class TheirPair(nn.Module):
    """ELECTRA as the sources describe it, made of their two models tied by hand."""

    discriminator: Any
    generator: Any

    def __init__(self, library: Any, ours: Electra, shape: EncoderConfig, generator_size: float) -> None:
        super().__init__()
        # Without their padding row: nothing in the sources keeps a sampled [PAD] from training its embedding.
        plain = {"pad_token_id": None}
        self.discriminator = their_model(library, "ElectraForPreTraining", shape, **plain)
        self.generator = their_model(library, "ElectraForMaskedLM", shape.generator(generator_size), **plain)
        self.to(next(ours.parameters()).dtype)
        copy_weights("discriminator", ours.discriminator, self.discriminator)
        copy_weights("generator", ours.generator, self.generator)
        embeddings: Any = self.discriminator.electra.embeddings
        self.generator.electra.embeddings = embeddings
        self.generator.generator_lm_head.weight = embeddings.word_embeddings.weight
        self.num_right = 0  # samples that were the original token

    def loss(self, batch: Batch, sample: Callable[[Tensor], Tensor]) -> Tensor:
        """MLM + 50 x RTD, slot by slot, from their logits over all positions."""
        original, shown = batch.input_ids, batch.masked
        mask = original != SPECIAL_IDS.pad
        logits = self.generator(shown, attention_mask=mask.long()).logits
        slots = [(row, int(batch.positions[row, slot]), slot) for row, slot in torch.nonzero(batch.is_target).tolist()]
        rows, columns = [row for row, _, _ in slots], [column for _, column, _ in slots]
        masked_lm_loss = F.cross_entropy(logits[rows, columns], original[rows, columns])
        corrupted = original.clone()
        samples = sample(logits.gather(1, batch.positions[:, :, None].expand(-1, -1, logits.shape[-1])))
        for row, column, slot in slots:
            corrupted[row, column] = samples[row, slot]
        labels = (corrupted != original).long()
        disc_loss = self.discriminator(corrupted, attention_mask=mask.long(), labels=labels).loss
        self.num_right += len(slots) - int(labels.sum())
        return GEN_WEIGHT * masked_lm_loss + DISC_WEIGHT * disc_loss


def by_inverse_cdf(uniforms: Tensor) -> Callable[[Tensor], Tensor]:
    """Sample slot by slot: the first token at which the summed probabilities pass the uniform."""

    def sample(logits: Tensor) -> Tensor:
        probabilities = logits.detach().double().softmax(dim=-1).numpy()
        flat = [
            int(np.argmax(np.cumsum(row) > u * row.sum()))
            for row, u in zip(probabilities.reshape(-1, logits.shape[-1]), uniforms.flatten().tolist(), strict=True)
        ]
        return torch.tensor(flat).view(uniforms.shape)

    return sample


def their_gradients(pair: TheirPair) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in pair.named_parameters() if parameter.grad is not None}


def under_their_names(model: Electra, get: Callable[[Tensor], Any]) -> dict[str, Tensor]:
    """What `get` finds at each of our parameters, under their names."""
    found: dict[str, Tensor] = {}
    for part in ("discriminator", "generator"):
        tensors = {name: get(parameter) for name, parameter in getattr(model, part).named_parameters()}
        found |= {f"{part}.{name}": tensor for name, tensor in to_theirs(part, tensors).items()}
    return found


def assert_close_to_norm(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Each tensor within `tolerance` of the norm of the expected one."""
    for name, tensor in expected.items():
        distance, norm = (ours[name] - tensor).norm().item(), tensor.norm().item()
        if name.endswith(".key.bias"):  # softmax does not feel it: its gradient is rounding
            norm = expected[name.replace(".key.", ".query.")].norm().item()
        assert norm > 0, f"{name}: the reference does not move"
        assert distance <= tolerance * norm, f"{name}: {distance / norm:.1e} of its norm, not {tolerance:.0e}"


def masked_batch(lengths: list[int], seq_length: int, vocab_size: int, step: int = 0) -> Batch:
    rows = random_rows(lengths, seq_length, vocab_size, seed=step)
    chances = {"mask_prob": MASK_PROB, "mask_token_prob": MASK_TOKEN_PROB}
    return make_batch(rows, step, special_ids=SPECIAL_IDS, seed=0, **chances)


@pytest.mark.oracle
@pytest.mark.parametrize("generator_size", GENERATOR_SIZES)
def test_all_gradients_equal_theirs_on_the_same_batch(theirs: Any, generator_size: float):
    """In two micro-batches of unequal length, whose means over the whole batch must add up."""
    shape = dataclasses.replace(SMALL, vocab_size=1021)
    ours = small_electra(generator_size, shape)
    pair = TheirPair(theirs, ours, shape, generator_size)
    batch = masked_batch([37, 9, 30], 37, shape.vocab_size)
    halves = [
        replaced_token_detection(ours, batch.rows(*rows, CPU), count(batch), GEN_WEIGHT, DISC_WEIGHT)
        for rows in ((0, 1), (1, 3))
    ]
    for half in halves:
        half.loss.backward()
    sampled = torch.cat([half.sampled_ids for half in halves])
    loss = pair.loss(batch, lambda _: sampled)
    loss.backward()
    torch.testing.assert_close(halves[0].loss + halves[1].loss, loss, rtol=1e-5, atol=0)
    found, expected = under_their_names(ours, lambda parameter: parameter.grad), their_gradients(pair)
    shared = {name.replace("discriminator.", "generator.") for name in expected if "embeddings." in name}
    assert found.keys() - expected.keys() == shared | {"generator.generator_lm_head.weight"}
    assert_close_to_norm(found, expected, 1e-4)


def train_ours(model: Electra, batches: Iterable[Batch], first_step: int, schedule: str, correct: bool) -> None:
    """Updates as the training loop makes them, in two micro-batches."""
    groups = parameter_groups(model.named_parameters(), 0.01)
    optimizer = make_optimizer(groups, 0.9, 0.999, 1e-6)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step, batch in enumerate(batches, start=first_step):
        set_update(optimizer, 5e-3 * schedule_factor(schedule, step, 40, 5), correct)
        for start, stop in ((0, 2), (2, len(batch.input_ids))):
            rows = batch.rows(start, stop, CPU)
            replaced_token_detection(model, rows, count(batch), GEN_WEIGHT, DISC_WEIGHT).loss.backward()
        apply_update(optimizer, scaler, model.parameters(), 1.0)


def changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: after[name] - tensor for name, tensor in before.items()}


def tiny_batches() -> list[Batch]:
    return [masked_batch([19, 7, 13, 19, 11], 19, 13, step) for step in range(3)]


@pytest.mark.oracle
def test_three_updates_change_the_weights_as_their_models_with_adamw_do(theirs: Any):
    shape = tiny_shape(vocab_size=13)
    ours = tiny_electra(shape)
    randomize(ours)
    pair = TheirPair(theirs, ours, shape, 0.5)
    before_ours, before = (
        under_their_names(ours, torch.clone),
        {n: p.detach().clone() for n, p in pair.named_parameters()},
    )

    named = dict(pair.named_parameters())
    is_exempt = {name: name.endswith("bias") or "LayerNorm" in name for name in named}
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for name, p in named.items() if not is_exempt[name]], "weight_decay": 0.01},
            {"params": [p for name, p in named.items() if is_exempt[name]], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.999),
        eps=1e-6,
    )
    for step, batch in enumerate(tiny_batches(), start=10):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (40 - step) / (40 - 5)  # past warm-up: the line down to 0
        optimizer.zero_grad()
        pair.loss(batch, by_inverse_cdf(batch.sample_uniforms)).backward()
        assert nn.utils.clip_grad_norm_(pair.parameters(), 1.0) > 1.0  # it clips
        optimizer.step()
    assert pair.num_right > 0

    train_ours(ours, tiny_batches(), 10, "warmup_then_linear", correct=True)
    found = changes(before_ours, under_their_names(ours, torch.clone))
    assert_close_to_norm(found, changes(before, dict(pair.named_parameters())), 1e-6)


def adam_without_correction(
    state: dict[str, Tensor], name: str, parameter: Tensor, gradient: Tensor, rate: float
) -> None:
    """The release's optimizer as its file states it (model/optimization.py:114-133)."""
    m = state[f"m {name}"] = 0.9 * state.get(f"m {name}", torch.zeros_like(gradient)) + 0.1 * gradient
    v = state[f"v {name}"] = 0.999 * state.get(f"v {name}", torch.zeros_like(gradient)) + 0.001 * gradient**2
    update = m / (v.sqrt() + 1e-6)
    if not any(word in name for word in ("norm", "bias")):
        update = update + 0.01 * parameter
    parameter.data -= rate * update


def test_three_updates_without_bias_correction_change_the_weights_as_the_releases_adam_does():
    ours, reference = (tiny_electra(tiny_shape(vocab_size=13)) for _ in range(2))
    randomize(ours)
    randomize(reference)
    before = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}

    state: dict[str, Tensor] = {}
    for step, batch in enumerate(tiny_batches(), start=10):
        rate = 5e-3 * (1 - step / 40)  # past warm-up, decay from step 0
        loss = replaced_token_detection(reference, batch, count(batch), GEN_WEIGHT, DISC_WEIGHT).loss
        named = dict(reference.named_parameters())
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        norm = sum(float((g**2).sum()) for g in gradients.values()) ** 0.5
        for name, parameter in named.items():
            adam_without_correction(state, name, parameter, gradients[name] / max(1.0, norm), rate)

    train_ours(ours, tiny_batches(), 10, "warmup_times_linear", correct=False)
    found = changes(before, dict(ours.named_parameters()))
    for name, change in changes(before, dict(reference.named_parameters())).items():
        assert (found[name] - change).norm() <= 1e-6 * change.norm(), name


SHAPES = {
    "base": ({"embedding_size": 768, "hidden_size": 768, "num_heads": 12, "intermediate_size": 3072}, 1 / 3, 256),
    "large": (
        {"embedding_size": 1024, "hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096},
        1 / 4,
        256,
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("size", SHAPES)
def test_larger_sizes_have_their_tensors_in_their_shapes(theirs: Any, size: str):
    values, generator_size, width = SHAPES[size]
    shape = EncoderConfig(**values)
    assert shape.generator(generator_size).hidden_size == width
    for part, kind, encoder in (
        ("discriminator", "ElectraForPreTraining", shape),
        ("generator", "ElectraForMaskedLM", shape.generator(generator_size)),
        ("classifier", "ElectraForSequenceClassification", shape),
    ):
        reference = their_shape(theirs, kind, encoder).state_dict()
        ours = to_theirs(part, empty_module(part, encoder, 2).state_dict())
        assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in reference.items()}
