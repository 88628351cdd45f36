"""Text to tensors: what a row looks like, who is cut, who sits beside whom, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from electra.glue.batches import (
    PAD_MULTIPLE,
    POOL_BATCHES,
    Features,
    collate,
    encode,
    evaluation_batches,
    training_batches,
    truncated_lengths,
)
from electra.glue.files import read_split
from electra.glue.tasks import TASKS
from electra.ids import SpecialIds

PAD, CLS, SEP = 7, 11, 13  # unlike the real ones, so that no number is right by chance


class LetterTokenizer:
    """One id for each character: its code point plus 100."""

    special_ids = SpecialIds(pad=PAD, cls=CLS, sep=SEP, mask=17)

    def encode(self, text: str) -> list[int]:
        return [100 + ord(letter) for letter in text]


def ids(text: str) -> list[int]:
    return LetterTokenizer().encode(text)


def encoded(first: list[str], second: list[str] | None = None, max_seq_length: int = 31) -> Features:
    return encode(first, second, LetterTokenizer(), max_seq_length)  # type: ignore[arg-type]


def row_of(features: Features, row: int) -> list[int]:
    return features.ids[features.starts[row] : features.starts[row + 1]].tolist()


def test_a_row_begins_with_cls_and_each_text_ends_with_sep() -> None:
    features = encoded(["ab", "cde"])
    assert [row_of(features, row) for row in (0, 1)] == [[CLS, *ids("ab"), SEP], [CLS, *ids("cde"), SEP]]
    assert features.lengths.tolist() == [4, 5]
    pair = encoded(["ab"], ["cde"])
    assert row_of(pair, 0) == [CLS, *ids("ab"), SEP, *ids("cde"), SEP]
    assert pair.second_starts.tolist() == [4]


def test_texts_are_cut_to_the_maximum_and_an_empty_second_text_makes_a_single_sentence() -> None:
    assert row_of(encoded(["abcdefgh"], max_seq_length=7), 0) == [CLS, *ids("abcde"), SEP]
    assert row_of(encoded(["abcdefgh"], [""], 7), 0) == [CLS, *ids("abcde"), SEP]
    assert row_of(encoded(["abcdefghij"], ["klm"], 11), 0) == [CLS, *ids("abcde"), SEP, *ids("klm"), SEP]
    assert encoded(["abcdefg", "abcdefgh", "ab"], ["", "", "cdefg"], 9).num_cut == 2


@pytest.mark.parametrize(
    ("lengths", "limit", "kept"),
    [
        ((7, 2), 6, (4, 2)),  # only the longer loses
        ((2, 7), 6, (2, 4)),
        ((5, 5), 7, (4, 3)),  # on a tie the second loses first
        ((5, 5), 9, (5, 4)),
        ((3, 2), 5, (3, 2)),
        ((9, 3), 4, (2, 2)),
    ],
)
def test_pairs_lose_one_token_at_a_time_from_the_longer_text(lengths, limit, kept):
    assert truncated_lengths(*lengths, limit) == kept


def test_a_batch_is_padded_to_a_multiple_of_eight_with_types_and_mask() -> None:
    features = encoded(["ab", "a", "abc"], ["cde", "f", "fgh"])
    batch = collate(features, np.array([2, 1]))
    assert PAD_MULTIPLE == 8
    assert [tuple(tensor.shape) for tensor in batch] == [(2, 16)] * 3
    row = [CLS, *ids("abc"), SEP, *ids("fgh"), SEP]
    assert batch.input_ids.tolist() == [row + [PAD] * 7, [CLS, *ids("a"), SEP, *ids("f"), SEP] + [PAD] * 11]
    assert batch.attention_mask.int().tolist() == [[1] * 9 + [0] * 7, [1] * 5 + [0] * 11]
    assert batch.token_type_ids.tolist() == [[0] * 5 + [1] * 4 + [0] * 7, [0] * 3 + [1] * 2 + [0] * 11]
    assert [str(tensor.dtype) for tensor in batch] == ["torch.int64", "torch.bool", "torch.int64"]


def test_token_types_can_be_all_zero() -> None:
    assert not collate(encoded(["ab"], ["cde"]), np.array([0]), token_types=False).token_type_ids.any()
    assert not collate(encoded(["ab", "abcde"]), np.array([0, 1])).token_type_ids.any()  # single sentences


def test_padding_never_passes_the_maximum() -> None:
    assert collate(encoded(["a" * 40], max_seq_length=29), np.array([0])).input_ids.shape == (1, 29)


@pytest.mark.parametrize("length_buckets", [True, False])
@pytest.mark.parametrize(("num_rows", "batch_size"), [(8_551, 32), (71, 32), (64, 32), (5, 7), (1_100, 3)])
def test_an_epoch_has_every_row_once_in_as_few_batches_as_possible(num_rows, batch_size, length_buckets):
    lengths = np.random.default_rng(3).integers(4, 128, num_rows)
    batches = training_batches(lengths, batch_size, 0, 0, length_buckets=length_buckets)
    assert sorted(np.concatenate(batches)) == list(range(num_rows))
    assert len(batches) == -(-num_rows // batch_size)  # 8,551 rows by 32: 268 updates, 804 in three epochs
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(5).integers(4, 128, 331)

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_batches(lengths, 16, seed, epoch)).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_length_buckets_put_rows_of_like_length_together() -> None:
    lengths = np.random.default_rng(7).integers(4, 128, 2_003)

    def padded(length_buckets: bool) -> int:
        batches = training_batches(lengths, 32, 0, 0, length_buckets=length_buckets)
        return sum(len(batch) * int(lengths[batch].max()) for batch in batches)

    # Uniform lengths of mean 66: a random batch pads to nearly 128, while the batches of a pool share out the
    # range: padding is below (128 - 4) / 32 = 4 tokens a row.
    assert padded(False) > 1.85 * lengths.sum()
    assert padded(True) < 1.07 * lengths.sum()


def test_batches_do_not_come_in_order_of_length() -> None:
    lengths = np.random.default_rng(11).integers(4, 128, 32 * POOL_BATCHES)
    means = [lengths[batch].mean() for batch in training_batches(lengths, 32, 0, 0)]
    # The rank correlation of 32 shuffled places has a standard deviation of 0.18; 0.7 is four of them.
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.7


def test_evaluation_goes_by_length() -> None:
    assert np.concatenate(evaluation_batches(np.array([9, 5, 7, 5]), 3)).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize(("name", "num_dev"), [("cola", 1_043), ("mrpc", 408), ("stsb", 1_500)])
def test_every_official_dev_row_reaches_a_batch_exactly_once(real_data: Path, name: str, num_dev: int) -> None:
    rows = read_split(TASKS[name], real_data / "glue_data", "dev")
    features = encoded(rows.first, rows.second, max_seq_length=128)
    seen = np.zeros(num_dev, int)
    for batch_rows in evaluation_batches(features.lengths, 32):
        batch = collate(features, batch_rows)
        assert batch.attention_mask.sum(dim=1).tolist() == features.lengths[batch_rows].tolist()
        seen[batch_rows] += 1
    assert (seen == 1).all()
    assert int(features.lengths.max()) <= 128
