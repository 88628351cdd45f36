"""Learning merges: `electra.tokenizer.train`."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer import bpe
from electra.tokenizer.train import MAX_CHUNK_BYTES, learn
from tests.helpers.merges import BYTE_IDS, A, B, C, D
from tests.helpers.oracles import merges_by_recounting


def learn_merges(counts: dict[str, int], num_merges: int, min_count: int = 2) -> list[tuple[int, int]]:
    return learn(counts, num_merges, min_count=min_count).merges


def recounted(counts: dict[str, int], num_merges: int, min_count: int = 2) -> list[tuple[int, int]]:
    chunks = {chunk.encode(): count for chunk, count in counts.items()}
    return merges_by_recounting(chunks, BYTE_IDS, num_merges, min_count, bpe.FIRST_MERGE_ID)


def test_the_most_frequent_pair_is_merged_first_and_then_what_it_leaves():
    # ab 5 + 2, bc 5, cd 2; after ab: (ab)c 5, cd 2, d(ab) 2; after abc: d(ab) and cd tie at 2, c < d
    assert learn_merges({"abc": 5, "cdab": 2}, 4) == [(A, B), (260, C), (C, D), (262, 260)]


def test_ties_go_to_the_smaller_left_id_and_then_to_the_smaller_right_id():
    assert learn_merges({"cb": 3, "bd": 3, "ba": 3}, 3) == [(B, A), (B, D), (C, B)]


def test_ties_follow_the_stand_ins_and_not_the_bytes():
    # as bytes the newline (10) is below "!" (33); its stand-in is not
    assert learn_merges({"\n\n": 2, "!!": 2}, 1) == [(4, 4)]


def test_merges_in_a_run_go_from_the_left():
    # aa aa a, whose pairs tie: the id of "a" is below that of "aa"
    assert learn_merges({"aaaaa": 2}, 3) == [(A, A), (260, A), (260, 261)]


def test_pairs_rarer_than_the_minimum_are_left():
    counts = {"ab": 3, "cd": 2, "ac": 1}
    assert learn_merges(counts, 9) == [(A, B), (C, D)]
    assert learn_merges(counts, 9, min_count=3) == [(A, B)]
    assert learn_merges(counts, 9, min_count=1) == [(A, B), (C, D), (A, C)]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("ab", min_size=1, max_size=12), st.integers(1, 4), max_size=12), st.integers(1, 25))
def test_merges_equal_a_recount_after_each_on_two_letters(counts: dict[str, int], num_merges: int):
    assert learn_merges(counts, num_merges) == recounted(counts, num_merges)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(" aé漢\n", min_size=1, max_size=9), st.integers(1, 99), max_size=20), st.integers(1, 3))
def test_merges_equal_a_recount_after_each_on_bytes_of_all_kinds(counts: dict[str, int], min_count: int):
    assert learn_merges(counts, 40, min_count=min_count) == recounted(counts, 40, min_count)


def test_counts_are_64_bits_wide():
    # in 32 bits 2**32 + 1 is 1, and the other pair would win
    assert learn_merges({"ab": 2**32 + 1, "cd": 2**31}, 1) == [(A, B)]


def test_long_chunks_are_left_out_and_counted():
    longest, too_long = "a" * MAX_CHUNK_BYTES, "b" * (MAX_CHUNK_BYTES + 1)
    learned = learn({longest: 2, too_long: 3, "c": 1}, 1)
    assert learned.merges == [(A, A)]
    assert learned.num_left_out == 3
    assert learned.chunks == [longest, "c"]
    assert MAX_CHUNK_BYTES >= 256


def test_the_chunks_are_cut_as_encoding_cuts_them():
    draw = random.Random(5)
    counts = Counter("".join(draw.choices("abé ", [6, 3, 1, 2], k=draw.randint(1, 12))) for _ in range(500))
    learned = learn(counts, 60)
    id_of_pair = bpe.index_merges(learned.merges)
    starts = [0, *learned.ends.tolist()]
    cut = [learned.ids[starts[n] : starts[n + 1]].tolist() for n in range(len(learned.chunks))]
    assert cut == [bpe.encode_chunk(chunk.encode(), id_of_pair) for chunk in learned.chunks]
    assert learned.counts.tolist() == [counts[chunk] for chunk in learned.chunks]
