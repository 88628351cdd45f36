"""Embeddings, attention and dropout. That the encoder computes what the release's does: `pretrain/test_golden.py`."""

from __future__ import annotations

import pytest
import torch

from electra.model.networks import make_embeddings
from electra.model.transformer import LAYER_NORM_EPS, Dropout, Encoder, TransformerLayer, attend, drop
from tests.conftest import tiny_electra, tiny_shape


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Float64 with random parameters, because zeros and ones would hide mistakes."""
    draws = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws, dtype=torch.float64) * 0.3
    return module.double()


def test_layer_norms_use_the_releases_epsilon():
    epsilons = {m.eps for m in tiny_electra().modules() if isinstance(m, torch.nn.LayerNorm)}
    assert epsilons == {LAYER_NORM_EPS} == {1e-12}


def test_embeddings_add_word_position_and_type_then_normalise_before_any_projection():
    encoder = randomised(Encoder(tiny_shape(), make_embeddings(tiny_shape())))
    ids, types = torch.tensor([[5, 17, 5]]), torch.tensor([[0, 1, 1]])
    tables = encoder.embeddings
    summed = tables.word.weight[ids] + tables.position.weight[None, :3] + tables.token_type.weight[types]
    normed = torch.nn.functional.layer_norm(summed, (11,), tables.norm.weight, tables.norm.bias, 1e-12)
    torch.testing.assert_close(tables(ids, types), normed)
    for layer in encoder.layers:
        layer.forward = lambda hidden, mask: hidden
    torch.testing.assert_close(encoder(ids, token_type_ids=types), encoder.projection(normed))


def test_no_token_types_means_type_zero():
    encoder = randomised(Encoder(tiny_shape(), make_embeddings(tiny_shape())))
    ids = torch.tensor([[4, 8, 15, 16, 23]])
    torch.testing.assert_close(encoder(ids), encoder(ids, token_type_ids=torch.zeros_like(ids)), rtol=0, atol=0)


def test_padding_never_changes_a_real_token():
    encoder = randomised(Encoder(tiny_shape(), make_embeddings(tiny_shape())))
    short = torch.tensor([[1, 44, 7, 61, 2]])
    padded = torch.tensor([[1, 44, 7, 61, 2, 0, 0, 0], [1, 5, 6, 7, 8, 9, 10, 2]])
    together = encoder(padded, padded != 0)[0, :5]
    torch.testing.assert_close(together, encoder(short)[0], rtol=1e-12, atol=1e-12)


def test_rows_longer_than_the_position_table_are_refused():
    encoder = Encoder(tiny_shape(), make_embeddings(tiny_shape()))
    with pytest.raises(ValueError, match=r"expected rows of at most 31 tokens, found 32; shorten"):
        encoder(torch.ones(1, 32, dtype=torch.int64))
    assert encoder(torch.ones(1, 31, dtype=torch.int64)).shape == (1, 31, 26)


def test_each_dropout_has_its_own_setting():
    shape = tiny_shape(hidden_dropout_prob=0.3, attention_dropout_prob=0.5)
    encoder = Encoder(shape, make_embeddings(shape))
    rates = [m.p for m in encoder.modules() if isinstance(m, Dropout)]
    assert rates == [0.3] * (1 + shape.num_layers)  # embeddings; one module serves both parts of a layer
    assert [layer.attention.dropout for layer in encoder.layers] == [0.5, 0.5]


def is_random(function) -> bool:
    return not torch.equal(function(), function())


@pytest.mark.parametrize(
    ("silenced", "dropout", "attention_dropout"),
    [("attention.out", 0.5, 0.0), ("feed_forward.outer", 0.5, 0.0), ("feed_forward.outer", 0.0, 0.5)],
)
def test_dropout_acts_on_both_parts_of_a_layer_and_on_attention_in_training_only(silenced, dropout, attention_dropout):
    layer = randomised(TransformerLayer(26, 2, inner_width=37, dropout=dropout, attention_dropout=attention_dropout))
    for parameter in layer.get_submodule(silenced).parameters():
        torch.nn.init.zeros_(parameter)  # this part adds nothing, so only the other one can drop out
    hidden = torch.randn(1, 7, 26, dtype=torch.float64)
    assert is_random(lambda: layer(hidden, None))
    layer.eval()
    assert not is_random(lambda: layer(hidden, None))


def test_dropout_comes_after_the_embeddings_layer_norm():
    tables = randomised(make_embeddings(tiny_shape(hidden_dropout_prob=0.5)))
    zeros = (tables(torch.arange(4, 35)[None]) == 0).double().mean().item()
    assert abs(zeros - 0.5) < 5 * (0.25 / (31 * 11)) ** 0.5  # chance of a false alarm 6e-7


@pytest.mark.parametrize("mask", [None, torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None, :]])
def test_attention_written_out_equals_torchs_fused_kernel(mask):
    query, key, value = torch.randn(3, 2, 5, 7, 3, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, mask, 0.0), expected)


@pytest.mark.parametrize(("prob", "num_dropped"), [(0.1, 6554), (0.37, 24248), (0.5, 32768)])
def test_a_value_is_dropped_with_the_nearest_chance_in_65_536ths(prob, num_dropped):
    torch.manual_seed(0)
    kept = drop(torch.ones(4_000_003), prob) != 0
    chance = num_dropped / 65_536
    standard_error = (chance * (1 - chance) / 4_000_003) ** 0.5
    assert abs((~kept).double().mean().item() - chance) < 5 * standard_error  # false alarm: 6e-7


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_kept_is_scaled_so_that_the_expectation_stays(dtype):
    torch.manual_seed(0)
    dropped = drop(torch.full((31, 37), 3.0, dtype=dtype), 0.1)
    kept = dropped[dropped != 0]
    assert dropped.dtype == dtype
    torch.testing.assert_close(
        kept, torch.full_like(kept, 3 / (1 - 6554 / 65_536)), rtol=torch.finfo(dtype).eps * 2, atol=0
    )


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    values = torch.randn(13, 17, dtype=torch.float64, requires_grad=True)  # 221 values, not a multiple of 4
    dropped = drop(values, 0.3)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, (dropped / values).detach())
    assert 0 < (values.grad == 0).sum() < values.numel()


def test_nothing_is_dropped_or_drawn_at_chance_0_or_in_evaluation():
    values, before = torch.randn(5, 7), torch.get_rng_state()
    assert torch.equal(drop(values, 0.0), values)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(torch.get_rng_state(), before)
