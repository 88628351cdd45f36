"""Token shards on disk: `electra.data.shards`."""

from __future__ import annotations

import hashlib
import io
import json
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
    assert [d.tolist() for d in open_shards(folder, "held-out").documents()] == [[20, 21]]


def test_a_token_knows_its_document(folder: Path):
    train = open_shards(folder)
    assert [train.document_of_token(n) for n in range(10)] == [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]


def test_files_are_plain_npy_in_little_endian_and_documents_are_views_of_them(folder: Path):
    tokens, ends = np.load(folder / "train-00002.tokens.npy"), np.load(folder / "train-00002.ends.npy")
    assert (tokens.dtype.str, ends.dtype.str) == ("<u2", "<i8")
    assert (tokens.tolist(), ends.tolist()) == ([9, 10, 65_535, 11, 12, 13], [2, 6])
    document = next(open_shards(folder).documents())
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


@pytest.mark.parametrize("name", ["train-00000.tokens.npy", "held-out-00000.ends.npy", "tokenizer.json"])
def test_verify_finds_a_flipped_byte_and_a_missing_file(folder: Path, name: str):
    assert verify(folder) == 2 * 4 + 1
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(FormatError, match=f"{name}: expected sha256 [0-9a-f]{{64}}, found {found}; rebuild with"):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(FormatError, match=f"{name}: expected sha256 .*, found no such file; rebuild"):
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


def npy(array: np.ndarray) -> bytes:
    """The bytes of an array's file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = npy(np.array([9, 10, 65_535, 11, 12, 13], "<u2"))
OTHERS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, r"missing or damaged \(.*No such file"),
    "cut in the last token": (GOOD[:-1], "missing or damaged"),
    "cut in the header": (GOOD[:100], "missing or damaged"),
    "empty": (b"", "missing or damaged"),
    "a header that is no Python": (GOOD.replace(b"}", b"("), "missing or damaged"),
    "objects": (npy(np.array([{}] * 6)), "missing or damaged"),
    "a token less": (npy(np.zeros(5, "<u2")), r"expected uint16 of shape \(6,\), found uint16 of shape \(5,\)"),
    "wider ids": (npy(np.zeros(6, "<i4")), r"expected uint16 of shape \(6,\), found int32 of shape \(6,\)"),
    "big-endian ids": (npy(np.zeros(6, ">u2")), r"expected uint16 of shape \(6,\), found >u2 of shape \(6,\)"),
    "rows": (npy(np.zeros((2, 3), "<u2")), r"expected uint16 of shape \(6,\), found uint16 of shape \(2, 3\)"),
}


@pytest.mark.parametrize(("content", "problem"), OTHERS.values(), ids=OTHERS)
def test_another_file_is_refused_on_opening(folder: Path, content: bytes | None, problem: str):
    path = folder / "train-00002.tokens.npy"
    assert path.read_bytes() == GOOD
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"train-00002.tokens.npy: {problem}.*; rebuild with python -m electra"):
        open_shards(folder)


@pytest.mark.parametrize("checked_bytes", [1 << 28, 0])
def test_small_splits_are_checked_against_their_digests_on_opening(folder, monkeypatch, checked_bytes):
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
    with pytest.raises(FormatError, match=r": no token shards, or unfinished: no manifest.json; run python -m elec"):
        open_shards(folder)
