"""Masking and sampling: counts, choice, distribution, labels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from electra.model.networks import wide
from electra.pretrain.masking import corrupt, count_targets, cumulate, make_batch, mask_tokens, sample_replacements
from electra.pretrain.objective import FillTargets, count
from tests.conftest import SPECIAL_IDS, random_rows, tiny_batch


def half_even(value: Fraction) -> int:
    """Round to the nearest integer, halves to the even one, by its definition."""
    floor = value.numerator // value.denominator
    rest = value - floor
    return floor + (floor % 2 if rest == Fraction(1, 2) else rest > Fraction(1, 2))


def test_the_number_of_targets_is_the_rounded_share_at_every_length():
    for n in range(3, 129):
        assert count_targets(n, 0.15) == min(max(1, half_even(Fraction(15, 100) * n)), n - 2), n
    known = {3: 1, 9: 1, 10: 2, 30: 4, 64: 10, 70: 10, 110: 16, 128: 19}
    assert {n: count_targets(n, 0.15) for n in known} == known
    assert [count_targets(n, 0.15) for n in (0, 1, 2)] == [0, 0, 0]  # no candidate, no target
    assert count_targets(4, 0.9) == 2


def test_the_number_of_targets_is_the_releases_but_for_the_lengths_in_the_register():
    def difference(n: int, seq_length: int) -> int:
        """Ours minus the release's: a float32 product, cut to the slots of a row."""
        rounded = int(np.rint(np.float32(n) * np.float32(0.15)))
        return count_targets(n, 0.15) - min(int((0.15 + 0.005) * seq_length), max(1, rounded))

    assert not any(difference(n, 128) for n in range(3, 129))
    full = {n: difference(n, n) for n in range(3, 513) if difference(n, n)}
    cut = [*range(3, 7), 10, 11, 12, 17, 18, 19, 24, 25, 31, 32, 37, 38, 44, 45, 50, 51, 57, 58, 64, 77, 90]
    assert full == {**dict.fromkeys(cut, 1), **dict.fromkeys([190, 350, 390], -1)}


def test_each_length_gets_exactly_its_count_of_distinct_targets():
    for n in range(3, 129):
        batch = tiny_batch([n, 128, n], 128, n)
        for row, length in enumerate((n, 128, n)):
            chosen = batch.positions[row][batch.is_target[row]].tolist()
            assert len(chosen) == len(set(chosen)) == count_targets(length, 0.15)


def test_targets_are_the_candidates_with_the_lowest_scores():
    ids = torch.from_numpy(random_rows([13], 13))
    scores = torch.linspace(0.9, 0.1, 13, dtype=torch.float64)[None]
    _, positions, is_target, _ = mask_tokens(ids, scores, torch.zeros(1, 2), SPECIAL_IDS, 0.15, 0.85)
    assert positions.tolist() == [[11, 10]]  # 12 is [SEP]
    assert is_target.all()


def test_every_candidate_is_chosen_equally_often():
    # 4,000 rows of 23 tokens, 3 of 21 candidates each; chi-square with 20 degrees of freedom. Drawing without
    # replacement makes the counts' variance smaller than a multinomial's: the bound 45.3 (chance 0.001) holds.
    batch = tiny_batch([23] * 4000, 23)
    counts = np.bincount(batch.positions[batch.is_target].numpy(), minlength=23)[1:22]
    expected = 4000 * 3 / 21
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, 20)
    assert counts.sum() == 4000 * 3


def test_85_percent_of_targets_are_masked_and_the_rest_are_left_as_they_were():
    batch = tiny_batch([128] * 600, 128)
    num_targets = int(batch.is_target.sum())
    assert num_targets == 600 * 19
    masked = batch.is_masked.sum().item() / num_targets
    assert abs(masked - 0.85) < 5 * (0.85 * 0.15 / num_targets) ** 0.5  # chance of a false alarm 6e-7
    shown = batch.masked_ids.gather(1, batch.positions)
    original = batch.input_ids.gather(1, batch.positions)
    assert (shown[batch.is_masked] == SPECIAL_IDS.mask).all()
    assert torch.equal(shown[~batch.is_masked], original[~batch.is_masked])


def test_masks_are_a_function_of_seed_and_step():
    one, same = tiny_batch([23, 23], 23, 7), tiny_batch([23, 23], 23, 7)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True) if a is not None and b is not None)
    assert not torch.equal(one.positions, tiny_batch([23, 23], 23, 8).positions)
    reseeded = make_batch(
        one.input_ids.numpy(), 7, special_ids=SPECIAL_IDS, mask_prob=0.15, mask_token_prob=0.85, seed=1
    )
    assert not torch.equal(one.positions, reseeded.positions)


def test_a_batch_is_counted_and_has_an_attention_mask_only_where_a_row_is_padded():
    full, padded = tiny_batch([23, 23], 23), tiny_batch([23, 11, 3], 23)
    assert full.attention_mask is None
    assert padded.attention_mask is not None
    assert padded.attention_mask.sum(dim=1).tolist() == [23, 11, 3]
    assert (count(full), count(padded)) == ((6, 46), (3 + 2 + 1, 23 + 11 + 3))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_samples_follow_the_softmax(dtype, deterministic):
    torch.use_deterministic_algorithms(deterministic)
    # of 200,000 evenly spaced uniforms every word gets its share, but for one at either end
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 1.5, 31)).to(dtype)
    uniforms = torch.arange(0.5, 200_000, dtype=torch.float64) / 200_000
    sampled = sample_replacements(wide(logits).softmax(dim=0).expand(200_000, 31), uniforms)
    exact = logits.double().softmax(dim=0)
    assert (sampled.bincount(minlength=31) - exact * 200_000).abs().max() <= 2


def test_sampling_is_in_float32_under_autocast():
    # In bfloat16 a cumulative sum over 30,522 equal words stalls at 2^8 terms: late words would never be drawn.
    uniforms, ids = torch.linspace(0, 1 - 1e-9, 997, dtype=torch.float64), torch.zeros(997, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        inputs = torch.zeros(997, 2), torch.zeros(30_522, 2), torch.zeros(30_522)
        *_, sampled = FillTargets.apply(*inputs, ids, ids == 0, uniforms)
    expected = (uniforms * 30_522).long()
    assert (sampled - expected).abs().max() <= 10  # 3e-4 of 30,522
    assert sampled.unique().numel() == 997


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_sampled_distribution_is_within_3e_4_of_the_softmax(deterministic):
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 2.0, (5, 30_522))).float()
    torch.use_deterministic_algorithms(deterministic)
    cumulative = cumulate(logits.softmax(dim=-1)).double()
    steps = torch.diff(cumulative, dim=-1, prepend=torch.zeros(5, 1)) / cumulative[:, -1:]
    total_variation = (steps - logits.double().softmax(dim=-1)).abs().sum(dim=-1) / 2
    assert total_variation.max() < 3e-4
    assert cumulate(logits).dtype == (torch.int64 if deterministic else torch.float32)


def test_uniforms_at_both_ends_pick_a_word_that_exists_and_has_a_chance():
    logits = torch.tensor([[[-torch.inf, -torch.inf, 0.0, 1.0]]])
    assert sample_replacements(logits.softmax(dim=-1), torch.zeros(1, 1)).item() == 2
    assert sample_replacements(torch.ones(1, 1, 7), torch.tensor([[np.nextafter(1.0, 0.0)]])).item() == 6


def test_every_target_is_resampled_the_visible_ones_too():
    batch = tiny_batch([43] * 7, 43)
    assert (batch.is_target & ~batch.is_masked).any()
    corrupted, _ = corrupt(batch, torch.full_like(batch.positions, 88))
    assert (corrupted.gather(1, batch.positions) == 88).all()
    assert not (corrupted == SPECIAL_IDS.mask).any()  # the discriminator never sees [MASK]


def test_a_sample_equal_to_the_original_is_labelled_original():
    batch = tiny_batch([23] * 3, 23)
    original = batch.input_ids.gather(1, batch.positions)
    corrupted, is_replaced = corrupt(batch, original)
    assert torch.equal(corrupted, batch.input_ids)
    assert not is_replaced.any()
    one_wrong = original.clone()
    one_wrong[1, 0] = 4 + (original[1, 0] - 3) % 85
    _, is_replaced = corrupt(batch, one_wrong)
    assert is_replaced.nonzero().tolist() == [[1, batch.positions[1, 0].item()]]


def test_unused_slots_write_nothing():
    batch = tiny_batch([23, 5, 3], 23)
    assert (~batch.is_target).any()
    corrupted, is_replaced = corrupt(batch, torch.full_like(batch.positions, 88))
    assert is_replaced.sum(dim=1).tolist() == [3, 1, 1]
    assert (corrupted[1, 5:] == SPECIAL_IDS.pad).all()
