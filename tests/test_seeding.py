"""Every draw is a function of (seed, stream, indices)."""

from __future__ import annotations

import hashlib

import pytest

from electra.seeding import STREAMS, derive_seed, random_stream


def test_a_seed_is_the_sha256_of_its_name():
    expected = int.from_bytes(hashlib.sha256(b"7/windows/3/eval").digest()[:8], "little") >> 1
    assert derive_seed(7, "windows", 3, "eval") == expected
    assert 0 <= expected < 2**63


def test_seeds_differ_over_seed_stream_and_index():
    names = [(s, stream, i) for s in range(3) for stream in STREAMS for i in range(20)]
    assert len({derive_seed(*name) for name in names}) == len(names)


def test_draws_are_the_same_on_every_machine():
    assert random_stream(0, "init").integers(0, 1000, 5).tolist() == [420, 517, 197, 115, 948]


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError, match="stream: expected one of init, windows"):
        derive_seed(0, "mask")
