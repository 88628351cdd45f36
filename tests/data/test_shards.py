"""Token shards on disk: `electra.data.shards`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.data import shards
from electra.data.shards import Shards, open_shards, verify, write_shard
from electra.files import FormatError, read_json, write_json
from electra.ids import Ids
from tests.conftest import ROOT

DOCUMENTS = [[[5, 6, 7], [8]], [], [[9, 10], [65_535, 11, 12, 13]]]  # by shard


def as_ids(document: list[int]) -> Ids:
    return np.array(document, "<u2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished folder of three training shards, the second one empty, and one held-out document."""
    train = [write_shard(tmp_path, f"train-{n:05d}", list(map(as_ids, group))) for n, group in enumerate(DOCUMENTS)]
    held_out = [write_shard(tmp_path, "held-out-00000", [as_ids([20, 21])])]
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    manifest = {
        "format": shards.FORMAT,
        "version": shards.VERSION,
        **{"sources": ["a.txt"], "settings": {}, "skipped": {}, "tokenizer_report": {}, "vocab_size": 65_536},
        **{"num_documents": 5, "num_tokens": 12, "text_bytes": 40, "tokenizer_fingerprint": "abc"},
        "tokenizer_file": "tokenizer.json",
        "tokenizer_sha256": hashlib.sha256(b"{}").hexdigest(),
        "splits": {"train": train, "held-out": held_out},
    }
    write_json(tmp_path / "manifest.json", manifest)
    return tmp_path


def test_documents_come_back_in_order_across_shards(folder: Path):
    train = open_shards(folder)
    assert [document.tolist() for document in train.documents()] == [doc for group in DOCUMENTS for doc in group]
    assert (train.num_documents, train.num_tokens) == (4, 10)
    assert train.lengths().tolist() == [3, 1, 2, 4]
    assert [d.tolist() for d in open_shards(folder, "held-out").documents()] == [[20, 21]]


def test_a_token_knows_its_document(folder: Path):
    train = open_shards(folder)
    assert [train.document_of_token(n) for n in range(10)] == [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]


def test_files_are_plain_npy_in_little_endian(folder: Path):
    tokens, ends = np.load(folder / "train-00002.tokens.npy"), np.load(folder / "train-00002.ends.npy")
    assert (tokens.dtype.str, ends.dtype.str) == ("<u2", "<i8")
    assert tokens.tolist() == [9, 10, 65_535, 11, 12, 13]
    assert ends.tolist() == [2, 6]


def test_documents_are_views_of_the_file_that_cannot_be_written(folder: Path):
    document = next(open_shards(folder).documents())
    assert not document.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        document[0] = 1


def test_the_fingerprint_is_that_of_the_content(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    train = open_shards(folder)
    other = tmp_path_factory.mktemp("other")
    records = [write_shard(other, f"x-{n}", list(map(as_ids, group))) for n, group in enumerate(DOCUMENTS)]
    assert Shards(other, records, "").fingerprint == train.fingerprint
    records[0] = write_shard(other, "x-0", [as_ids([5, 6]), as_ids([7, 8])])
    assert Shards(other, records, "").fingerprint != train.fingerprint  # the same tokens, other ends
    assert train.tokenizer_fingerprint == "abc"


def test_verify_counts_what_it_checked(folder: Path):
    assert verify(folder) == 2 * 4 + 1


@pytest.mark.parametrize(
    "name", ["train-00000.tokens.npy", "train-00002.ends.npy", "held-out-00000.tokens.npy", "tokenizer.json"]
)
def test_verify_finds_a_flipped_byte(folder: Path, name: str):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        FormatError,
        match=f"{name}: expected sha256 [0-9a-f]{{64}}, found {found}; rebuild with python -m electra prepare",
    ):
        verify(folder)


def test_verify_finds_a_missing_file(folder: Path):
    (folder / "train-00002.tokens.npy").unlink()
    with pytest.raises(FormatError, match=r"train-00002.tokens.npy: expected sha256 .*, found no such file; rebuild"):
        verify(folder)


FEW_FILES = """
import resource, sys
from pathlib import Path
from electra.data.shards import Shards, write_shard
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 150))
folder = Path(sys.argv[1])
records = [write_shard(folder, f"train-{n:05d}", []) for n in range(50)]
print(Shards(folder, records, "").num_documents)
"""


def test_more_shards_than_the_usual_limit_on_open_files_are_opened(tmp_path: Path):
    """50 shards are 100 files; 40 may be open at first, and 150 if the limit is lifted."""
    command = [sys.executable, "-c", FEW_FILES, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr


@pytest.mark.parametrize("cut", [-1, -7, 100, 0])
@pytest.mark.parametrize("part", ["tokens", "ends"])
def test_a_truncated_shard_is_refused_on_opening(folder: Path, part: str, cut: int):
    path = folder / f"train-00002.{part}.npy"
    path.write_bytes(path.read_bytes()[:cut])
    what = "6 tokens as uint16" if part == "tokens" else "2 documents as int64"
    size = path.stat().st_size
    with pytest.raises(FormatError) as raised:
        open_shards(folder)
    found = f"a damaged or truncated file of {size:,} bytes"
    assert str(raised.value) == f"{path}: expected {what}, found {found}; rebuild with python -m electra prepare"


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros(5, "<u2"), r"uint16 with shape \(5,\)"),
        (np.zeros(6, "<i4"), r"int32 with shape \(6,\)"),
        (np.zeros(6, ">u2"), r">u2 with shape \(6,\)"),
        (np.zeros((2, 3), "<u2"), r"uint16 with shape \(2, 3\)"),
        (np.array([{}] * 6), "a damaged or truncated file"),
    ],
)
def test_another_array_is_refused_on_opening(folder: Path, array: np.ndarray, found: str):
    np.save(folder / "train-00002.tokens.npy", array)
    with pytest.raises(FormatError, match=f"expected 6 tokens as uint16, found {found}"):
        open_shards(folder)


@pytest.mark.parametrize("checked_bytes", [1 << 28, 0])
def test_small_splits_are_checked_against_their_digests_on_opening(
    folder: Path, monkeypatch: pytest.MonkeyPatch, checked_bytes: int
):
    """The ends and the tokenizer always: they are small."""
    monkeypatch.setattr(shards, "_CHECKED_BYTES", checked_bytes)
    np.save(folder / "train-00000.tokens.npy", np.array([8, 7, 6, 5], "<u2"))  # reversed
    if checked_bytes:
        with pytest.raises(FormatError, match=r"train-00000.tokens.npy: expected sha256 \w{64}, found \w{64}; rebuild"):
            open_shards(folder)
    else:
        assert next(open_shards(folder).documents()).tolist() == [8, 7, 6]
    np.save(folder / "held-out-00000.ends.npy", np.array([1], "<i8"))
    with pytest.raises(FormatError, match=r"held-out-00000.ends.npy: expected sha256 \w{64}, found"):
        open_shards(folder, "held-out")
    (folder / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(FormatError, match=r"tokenizer.json: expected sha256 \w{64}, found"):
        open_shards(folder)


@pytest.mark.parametrize("ends", [[3, 5], [5, 4], [-1, 4], [3, 3]])
def test_ends_that_do_not_rise_to_the_number_of_tokens_are_refused(folder: Path, ends: list[int]):
    """Even where their digest is in the manifest."""
    np.save(path := folder / "train-00000.ends.npy", np.array(ends, "<i8"))
    manifest = read_json(folder / "manifest.json")
    manifest["splits"]["train"][0]["ends_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(FormatError, match=r"train-00000.ends.npy: ends of documents do not rise to 4; rebuild"):
        open_shards(folder)


def test_a_shard_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        done.append("fsync")
        fsync(descriptor)

    def watched_replace(source: str, target: Path) -> None:
        done.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_shard(tmp_path, "x", [as_ids([5])])
    assert done == ["fsync", "x.tokens.npy", "fsync", "fsync", "x.ends.npy", "fsync"]


def test_a_header_that_is_no_python_is_refused_on_opening(folder: Path):
    """NumPy's fallback for old headers raises an error of the `tokenize` module."""
    path = folder / "train-00002.tokens.npy"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"}", b"("))
    with pytest.raises(FormatError, match=f"found a damaged or truncated file of {len(content)} bytes"):
        open_shards(folder)


def test_a_missing_shard_is_refused_on_opening(folder: Path):
    (folder / "train-00000.ends.npy").unlink()
    with pytest.raises(FormatError, match=r"train-00000.ends.npy: expected 2 documents as int64, found no such file"):
        open_shards(folder)


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.update(version=2), r"expected 'electra token shards' version 1, found \['electra token shards', 2\]"),
    (lambda m: m["splits"]["train"][0].update(name="../elsewhere"), "expected plain file names, found '../elsewhere'"),
    (lambda m: m["splits"]["train"][0].update(name="\ud800"), r"expected plain file names, found '\\ud800'"),
    (lambda m: m["splits"]["train"][0].update(num_tokens="3"), "expected a shard of 'train' with name, .*, found {"),
    (lambda m: m["splits"]["train"][0].pop("num_tokens"), "expected a shard of 'train' with name, .*, found {"),
    (lambda m: m["splits"]["train"].append(5), "expected a shard of 'train' with name, .*, found 5"),
    (lambda m: m["splits"].pop("held-out"), "expected a shard of 'held-out' with name, .*, found None"),
    (lambda m: m.update(splits=[]), "expected .* as 'splits', found a list"),
    (lambda m: m.update(vocab_size="many"), "expected int as 'vocab_size', found 'many'"),
    (lambda m: m.update(tokenizer_file=".."), "expected plain file names, found '..'"),
    (lambda m: m.update(tokenizer_file="/etc/passwd"), "expected plain file names, found '/etc/passwd'"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_other_manifests_are_refused(folder: Path, change: Callable[[dict[str, Any]], object], message: str):
    manifest = read_json(folder / "manifest.json")
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match=f"manifest.json: .*{message}"):
        open_shards(folder)


def test_unfinished_and_missing_folders_are_told_apart(folder: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no: no such folder of token shards; make it with python -m electra"):
        open_shards(tmp_path / "no")
    (folder / "manifest.json").unlink()
    with pytest.raises(FormatError, match=r": unfinished, it has no manifest.json; run its python -m electra prepare"):
        open_shards(folder)
