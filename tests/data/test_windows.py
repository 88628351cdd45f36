"""Random windows: `electra.data.windows`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from electra.data.shards import Shards, write_shard
from electra.data.windows import WindowSampler
from electra.files import FormatError
from electra.ids import SpecialIds
from electra.seeding import random_stream

SPECIAL = SpecialIds(pad=0, cls=1, sep=2, mask=3)
FALSE_ALARM = 1e-6  # of each chi-square test below; seeds are fixed, so a pass is a pass forever


def make_shards(folder: Path, lengths: list[int], per_shard: int = 3) -> Shards:
    """Documents of these lengths whose tokens, counted from 10 on, all differ."""
    starts = np.cumsum([10, *lengths])
    documents = [np.arange(start, start + n, dtype="<u2") for start, n in zip(starts, lengths, strict=False)]
    groups = [documents[n : n + per_shard] for n in range(0, len(documents), per_shard)]
    records = [write_shard(folder, f"train-{n:05d}", group) for n, group in enumerate(groups)]
    return Shards(folder, records, tokenizer_fingerprint="")


def make_sampler(
    shards: Shards, batch_size: int, seq_length: int, seed: int = 0, sampling: str = "documents"
) -> WindowSampler:
    return WindowSampler(
        shards, special_ids=SPECIAL, batch_size=batch_size, seq_length=seq_length, seed=seed, sampling=sampling
    )


def assert_uniform(counts: Counter[int], outcomes: int) -> None:
    observed = [counts[n] for n in range(outcomes)]
    assert sum(observed) == sum(counts.values()) >= 20 * outcomes
    assert stats.chisquare(observed).pvalue > FALSE_ALARM, observed


@pytest.mark.parametrize("sampling", ["documents", "tokens"])
def test_a_row_is_cls_a_window_of_one_document_sep_and_padding(tmp_path: Path, sampling: str):
    lengths = [1, 29, 9, 10, 11, 53, 2]
    shards = make_shards(tmp_path, lengths)
    documents = [document.tolist() for document in shards.documents()]
    sampler = make_sampler(shards, 13, 12, sampling=sampling)
    seen = set()
    for step in range(60):
        batch = sampler.sample(step)
        assert (batch.shape, batch.dtype.name) == ((13, 12), "int64")
        for row in batch:
            end = row.tolist().index(SPECIAL.sep)
            assert row[0] == SPECIAL.cls
            assert not row[end + 1 :].any()
            text = row[1:end].tolist()
            document = next(document for document in documents if text[0] in document)
            start = document.index(text[0])
            assert text == document[start : start + 10]
            assert len(text) == min(10, len(document))
            seen.add(documents.index(document))
    assert seen == set(range(7))


def test_every_valid_start_is_drawn_equally_often(tmp_path: Path):
    """23 tokens, windows of 5: starts 0 to 18, the last one included."""
    sampler = make_sampler(make_shards(tmp_path, [23]), 50, 7)
    starts = Counter(int(row[1]) - 10 for step in range(200) for row in sampler.sample(step))
    assert set(starts) == set(range(19))
    assert_uniform(starts, 19)


def test_an_epoch_visits_every_document_once(tmp_path: Path):
    """11 documents, batches of 4 or 33: epochs end inside batches, or a batch has several."""
    shards = make_shards(tmp_path, [5] * 11)
    for batch_size in (4, 33):
        sampler = make_sampler(shards, batch_size, 7)
        first_tokens = np.concatenate([sampler.sample(step) for step in range(132 // batch_size)])[:, 1]
        epochs = ((first_tokens - 10) // 5).reshape(12, 11).tolist()
        assert [sorted(epoch) for epoch in epochs] == [list(range(11))] * 12
        assert len(set(map(tuple, epochs))) == 12


def test_windows_by_token_draw_a_document_in_proportion_to_its_length(tmp_path: Path):
    lengths = [3, 40, 7, 101, 1, 60]
    shards = make_shards(tmp_path, lengths)
    sampler = make_sampler(shards, 50, 7, sampling="tokens")
    ends = np.cumsum(lengths) + 10
    drawn = np.concatenate([sampler.sample(step)[:, 1] for step in range(400)])
    counts = np.bincount(np.searchsorted(ends, drawn, "right"), minlength=6)
    expected = np.array(lengths) / sum(lengths) * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > FALSE_ALARM
    starts = Counter((drawn[(drawn >= ends[2]) & (drawn < ends[3])] - ends[2]).tolist())
    assert_uniform(starts, 101 - 5 + 1)


@pytest.mark.parametrize("sampling", ["documents", "tokens"])
def test_a_batch_depends_on_nothing_but_shards_seed_and_step(tmp_path: Path, sampling: str):
    shards = make_shards(tmp_path, [17, 5, 90, 33])
    used = make_sampler(shards, 5, 9, sampling=sampling)
    before = [used.sample(step) for step in range(9)]
    fresh = make_sampler(shards, 5, 9, sampling=sampling)
    for step in (8, 3, 0, 3):
        assert np.array_equal(fresh.sample(step), before[step])
    assert not np.array_equal(make_sampler(shards, 5, 9, seed=1, sampling=sampling).sample(3), before[3])
    assert not np.array_equal(before[3], before[4])
    far = fresh.sample(10**12)  # as soon as any other
    assert np.array_equal(far, used.sample(10**12))


@pytest.mark.parametrize("sampling", ["documents", "tokens"])
def test_rows_do_not_depend_on_how_documents_are_spread_over_shards(tmp_path: Path, sampling: str):
    samplers = []
    for per_shard in (1, 2, 9):
        (tmp_path / str(per_shard)).mkdir()
        shards = make_shards(tmp_path / str(per_shard), [17, 5, 90, 33, 1, 8], per_shard)
        samplers.append(make_sampler(shards, 11, 9, sampling=sampling))
    for step in range(20):
        first, *others = (sampler.sample(step).tolist() for sampler in samplers)
        assert others == [first, first]


def test_draws_are_the_same_on_every_machine(tmp_path: Path):
    shards = make_shards(tmp_path, [17, 5, 90, 33])
    by_document, by_token = (make_sampler(shards, 3, 5, sampling=kind) for kind in ("documents", "tokens"))
    assert by_document.sample(2).tolist() == [[1, 28, 29, 30, 2], [1, 132, 133, 134, 2], [1, 17, 18, 19, 2]]
    assert by_token.sample(2).tolist() == [[1, 66, 67, 68, 2], [1, 101, 102, 103, 2], [1, 64, 65, 66, 2]]


def test_an_epoch_is_the_permutation_of_numpys_philox(tmp_path: Path):
    """7 documents, batches of 5: update 4 has the last row of epoch 2 and the first four of epoch 3."""
    sampler = make_sampler(make_shards(tmp_path, [5] * 7), 5, 7, seed=3)
    second, third = (random_stream(3, "windows", epoch, "order").permutation(7).tolist() for epoch in (2, 3))
    assert sampler.documents(4) == [second[6], *third[:4]]


def test_an_id_beyond_the_vocabulary_is_refused_when_it_is_drawn(tmp_path: Path):
    shards = make_shards(tmp_path, [5])  # ids 10 ... 14
    shards.vocab_size = 15
    assert make_sampler(shards, 1, 7).sample(0).max() == 14
    shards.vocab_size = 14
    with pytest.raises(FormatError, match=r"expected ids below 14, found 14; find the damaged file with .* --verify"):
        make_sampler(shards, 1, 7).sample(0)


def test_the_documents_of_a_batch_are_told(tmp_path: Path):
    shards = make_shards(tmp_path, [5] * 11)
    for sampling in ("documents", "tokens"):
        sampler = make_sampler(shards, 7, 7, sampling=sampling)
        for step in range(5):
            assert sampler.documents(step) == ((sampler.sample(step)[:, 1] - 10) // 5).tolist()


def test_a_split_without_documents_is_refused(tmp_path: Path):
    empty = Shards(tmp_path, [write_shard(tmp_path, "train-00009", [])], tokenizer_fingerprint="", split="held-out")
    with pytest.raises(ValueError, match=r"no documents in the split 'held-out'; .* --min-held-out"):
        make_sampler(empty, 4, 5)
