"""The objective: averages, gradients, layouts. Losses and gradients on the release's numbers: `test_golden.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from electra.model.networks import Electra, MaskedLM, initialize_weights, wide
from electra.pretrain import objective
from electra.pretrain.masking import Batch, sample_replacements
from electra.pretrain.objective import (
    Counts,
    FillTargets,
    PretrainLosses,
    count,
    masked_language_modeling,
    replaced_nats,
    replaced_token_detection,
)
from electra.seeding import random_stream
from electra.training.devices import micro_batches
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, set_update
from electra.training.ranks import Ranks
from tests.conftest import generator_logits, tiny_batch, tiny_electra, tiny_shape

CPU = torch.device("cpu")


def losses_of(model: Electra, batch: Batch, counts: Counts | None = None, gen_weight: float = 1.0) -> PretrainLosses:
    return replaced_token_detection(model, batch, counts or count(batch), gen_weight, 50.0)


def gradients(model: Electra) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}


def test_the_replaced_token_loss_is_a_mean_over_real_tokens_with_cls_and_sep():
    model, batch = tiny_electra(), tiny_batch([23, 11, 3], 23)
    losses = losses_of(model, batch)
    total = num = 0.0
    for row, length in enumerate((23, 11, 3)):
        for position in range(length):
            logit = losses.detection.logits[row, position].item()
            label = losses.detection.corrupted[row, position] != batch.input_ids[row, position]
            total += math.log1p(math.exp(-logit if label else logit))
            num += 1
    assert losses.detection.is_replaced.any()
    assert losses.disc_loss.item() == pytest.approx(total / num, rel=1e-12)


def test_no_gradient_reaches_the_generators_own_weights_from_the_discriminators_loss():
    model = tiny_electra()
    losses_of(model, tiny_batch([23, 11], 23), gen_weight=0.0).loss.backward()
    own = {n: g for n, g in gradients(model).items() if n.startswith("generator.")}
    assert len(own) > 20
    assert all(not g.any() for g in own.values())


def test_a_fresh_small_model_starts_at_ln_v_and_near_ln_2():
    shape = tiny_shape(vocab_size=997, embedding_size=32, hidden_size=64, intermediate_size=128)
    model = Electra(shape, 0.25)
    initialize_weights(model, random_stream(0, "init"), 0.02)
    losses = losses_of(model, tiny_batch([31] * 64, 31))
    assert losses.masked_lm_loss.item() == pytest.approx(math.log(997), rel=0.01)
    assert losses.disc_loss.item() == pytest.approx(math.log(2), rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 7, 40, 256])
def test_targets_filled_piece_by_piece_have_the_loss_gradients_and_samples_of_the_whole(size, dtype, monkeypatch):
    monkeypatch.setattr(objective, "TARGETS_AT_A_TIME", size)
    draws, is_wide = np.random.default_rng(0), dtype == torch.float64
    inputs = [torch.from_numpy(draws.normal(size=size)) for size in ((40, 8), (89, 8), 89)]
    inputs[2][88] = -9  # a rare word, no target: float16 does not tell its gradient from 0 unless it is scaled
    inputs = [(tensor if is_wide else tensor.float()).requires_grad_() for tensor in inputs]
    ids, uniforms = torch.from_numpy(draws.integers(88, size=40)), torch.from_numpy(draws.random(40))
    is_target = uniforms < 0.8
    with torch.autocast("cpu", torch.bfloat16 if is_wide else dtype, enabled=not is_wide):
        loss, nats, best_ids, sampled_ids = FillTargets.apply(*inputs, ids, is_target, uniforms)
        logits = F.linear(*inputs)
    expected = F.cross_entropy(wide(logits), ids, reduction="none")
    assert nats.dtype == wide(logits).dtype
    torch.testing.assert_close(nats, expected, rtol=0, atol=1e-12 if is_wide else 1e-6)
    assert torch.equal(best_ids, logits.argmax(dim=1))
    assert torch.equal(sampled_ids, sample_replacements(wide(logits).softmax(dim=1), uniforms))
    gradients = (torch.autograd.grad(4096 * total, inputs) for total in (loss, expected[is_target].sum()))
    for one, other in zip(*gradients, strict=True):
        errors, sizes = ((rows.view(len(rows), -1)).norm(dim=1) for rows in (one - other, other))
        assert (errors <= sizes * (1e-10 if is_wide else 8 * torch.finfo(dtype).eps)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_replaced_token_loss_of_16_bit_logits_is_that_of_the_same_logits_in_float32(dtype):
    logits = torch.randn(3, 89, generator=torch.Generator().manual_seed(0)).to(dtype)
    is_replaced = torch.arange(89) < torch.tensor([[5], [17], [80]])
    assert replaced_nats(logits, is_replaced).dtype == torch.float32
    assert torch.equal(replaced_nats(logits, is_replaced), replaced_nats(logits.float(), is_replaced))


def three_updates(micro_batch_size: int, bias_correction: bool = True) -> list[Tensor]:
    """Weight changes of three updates at a rate above 0, in float64, without dropout."""
    model = tiny_electra()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer(parameter_groups(model.named_parameters(), 0.01), 0.9, 0.999, 1e-6)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in range(3):
        batch = tiny_batch([23, 11, 3, 17, 23, 5, 8, 13], 23, step)
        counts = count(batch)
        set_update(optimizer, 1e-3, bias_correction)
        for start, end in micro_batches(0, 8, micro_batch_size):
            losses_of(model, batch.rows(start, end, CPU), counts).loss.backward()
        apply_update(optimizer, scaler, model.parameters(), 1.0)
    return [after.detach() - b for after, b in zip(model.parameters(), before, strict=True)]


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("micro_batch_size", [4, 3, 1])
def test_three_updates_do_not_depend_on_how_the_batch_is_cut(micro_batch_size, bias_correction):
    whole = three_updates(0, bias_correction)
    cut = three_updates(micro_batch_size, bias_correction)
    assert max(change.abs().max() for change in whole) > 1e-3  # something was learned
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro_batch_size", [0, 1, 3])
def test_rows_masks_and_given_equal_probabilities_samples_do_not_depend_on_the_layout(world_size, micro_batch_size):
    whole = tiny_batch([23, 11, 3, 17, 23, 5, 8, 13], 23, 7)
    probs = torch.from_numpy(np.random.default_rng(0).random((8, 3, 89)))
    pieces, samples = [], []
    for rank in range(world_size):
        for start, end in micro_batches(*Ranks(rank, world_size, CPU).share(8), micro_batch_size):
            pieces.append(whole.rows(start, end, CPU))
            samples.append(sample_replacements(probs[start:end], pieces[-1].sample_uniforms))
    for name in ("input_ids", "attention_mask", "masked_ids", "positions", "is_target", "is_masked"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(whole, name)), name
    assert torch.equal(torch.cat(samples), sample_replacements(probs, whole.sample_uniforms))


def test_the_control_minimises_the_generators_loss_alone():
    model = MaskedLM(tiny_shape())
    initialize_weights(model, random_stream(0, "init"), 0.2)
    model, batch = model.double(), tiny_batch([23, 11, 3], 23)
    losses = masked_language_modeling(model, batch, count(batch), 2.0, 50.0)
    logits = generator_logits(model, batch.masked_ids, batch.positions, batch.attention_mask)
    nats = F.cross_entropy(logits[batch.is_target], batch.input_ids.gather(1, batch.positions)[batch.is_target])
    assert losses.masked_lm_loss.item() == pytest.approx(nats.item(), rel=1e-12)
    assert losses.loss.item() == pytest.approx(2 * nats.item(), rel=1e-12)
    assert (losses.disc_loss.item(), losses.detection) == (0.0, None)


def test_a_compiled_objective_gives_the_same_gradients_from_one_graph_for_all_counts():
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    def loss(model: Electra, *rows: Any) -> Tensor:
        return replaced_token_detection(model, rows[0], rows[1], 1.0, 50.0).loss

    found = []
    for function in (loss, torch.compile(loss, dynamic=False, backend=keep, fullgraph=True)):
        model = tiny_electra()
        for lengths in ([23, 23], [23, 11], [23, 7], [5, 3]):  # each with counts of its own
            batch = tiny_batch(lengths, 23)
            function(model, batch, count(batch)).backward()
        found.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert len(graphs) == 2
