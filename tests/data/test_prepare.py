"""From text to a shard folder: `electra.data.prepare`, `electra.data.learn`, `electra.data.encode`."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from electra.data import corpus
from electra.data import encode as prepare_encode
from electra.data import prepare as prepare_command
from electra.data.learn import cut_blocks, describe, learn_tokenizer
from electra.data.prepare import PrepareConfig, main, prepare, prepare_documents
from electra.data.shards import open_shards, verify
from electra.data.summary import inspect, summary
from electra.files import FormatError, lock_folder, read_json
from electra.tokenizer import bpe
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.train import learn
from electra.tokenizer.wordpiece import WordPieceTokenizer
from tests.conftest import ROOT, word_salad
from tests.helpers.archives import inner_archive, tar_of, write

TEXTS = word_salad(130, 30)
SMALL = PrepareConfig(vocab_size=300, min_held_out=7)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about 5 kB, so that a few documents make several."""
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 5_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """26 text files of five documents each, as an extracted OpenWebText."""
    for n in range(26):
        write(tmp_path / "openwebtext" / f"urlsf_subset00-{n}_data.xz", inner_archive(TEXTS[5 * n : 5 * n + 5]))
    return tmp_path / "openwebtext"


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def key_of(text: str) -> int:
    """The number that decides whether a document is held out."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)


def texts_of(out: Path, split: str) -> list[str]:
    tokenizer = Tokenizer.load(out)
    return [tokenizer.decode(document.tolist()) for document in open_shards(out, split).documents()]


def run_command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m electra prepare ...` in a process of its own."""
    command = [sys.executable, "-m", "electra", "prepare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **options)


# --- what comes out ---------------------------------------------------------------------------------------


def test_every_document_is_in_one_split_as_the_tokenizer_encodes_it(folder: Path, tmp_path: Path):
    manifest = prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    train, held_out = (texts_of(tmp_path / "out", split) for split in ("train", "held-out"))
    assert Counter(train + held_out) == Counter(TEXTS)
    tokenizer = Tokenizer.load(tmp_path / "out")
    ids = [document.tolist() for document in open_shards(tmp_path / "out").documents()]
    assert ids == [tokenizer.encode(text) for text in train]
    assert manifest == read_json(tmp_path / "out" / "manifest.json")
    assert manifest["num_documents"] == 130
    assert manifest["command"] == f"python -m electra prepare {folder} --vocab-size 300 --min-held-out 7"
    assert manifest["num_tokens"] == sum(len(tokenizer.encode(text)) for text in TEXTS)
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert len(manifest["splits"]["train"]) > 4  # one a block, and what was set aside in vain
    assert (
        manifest["tokenizer_fingerprint"]
        == tokenizer.fingerprint
        == open_shards(tmp_path / "out").tokenizer_fingerprint
    )
    assert verify(tmp_path / "out") == 2 * len(manifest["splits"]["train"]) + 2 + 1
    assert set(contents(tmp_path / "out")) == {".lock", "manifest.json", "tokenizer.json"} | {
        f"{shard['name']}.{part}.npy"
        for split in manifest["splits"].values()
        for shard in split
        for part in ("tokens", "ends")
    }


def test_the_tokenizer_is_the_one_learned_from_all_the_text(folder: Path, tmp_path: Path):
    prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    assert Tokenizer.load(tmp_path / "out").fingerprint == Tokenizer.train(TEXTS, 300).fingerprint


def test_the_lowest_digests_are_held_out(folder: Path, tmp_path: Path):
    prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    lowest = sorted(TEXTS, key=key_of)[:7]
    assert texts_of(tmp_path / "out", "held-out") == [text for text in in_order(folder) if text in lowest]


def test_where_half_a_percent_is_more_all_below_it_are_held_out_up_to_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prepare_encode, "_KEYS_BELOW", 1 << 62)  # a quarter instead of 0.5 %
    low = [text for text in TEXTS if key_of(text) < 1 << 62]
    assert len(low) > 20
    prepare_documents(TEXTS, tmp_path / "a", vocab_size=300, min_held_out=7)
    assert texts_of(tmp_path / "a", "held-out") == low
    monkeypatch.setattr(prepare_encode, "MAX_HELD_OUT", 20)
    prepare_documents(TEXTS, tmp_path / "b", vocab_size=300, min_held_out=7)
    assert texts_of(tmp_path / "b", "held-out") == [text for text in TEXTS if text in sorted(low, key=key_of)[:20]]
    assert Counter(texts_of(tmp_path / "b", "train")) == Counter(TEXTS) - Counter(texts_of(tmp_path / "b", "held-out"))


def test_half_a_percent_is_the_share_that_is_held_out():
    assert pytest.approx(0.005, rel=1e-9) == prepare_encode._KEYS_BELOW / 2**64
    assert (prepare_encode.MAX_HELD_OUT, PrepareConfig().min_held_out) == (10_000, 50)


@pytest.mark.parametrize("below", [0, 1 << 62])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_equal_documents_are_in_one_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: int, num_workers: int
):
    """8 must be held out: the copies of the third lowest go with it, and are spread over several blocks."""
    monkeypatch.setattr(prepare_encode, "_KEYS_BELOW", below)
    monkeypatch.setattr(prepare_encode, "MAX_HELD_OUT", 8)
    for n, text in enumerate(TEXTS * 3):
        write(tmp_path / "in" / f"{n:03d}.txt", text.encode())
    config = PrepareConfig(vocab_size=300, min_held_out=8)
    prepare([tmp_path / "in"], tmp_path / "out", config, num_workers=num_workers)
    lowest = sorted(TEXTS, key=key_of)[:3]
    assert Counter(texts_of(tmp_path / "out", "held-out")) == Counter(lowest * 3)
    assert Counter(texts_of(tmp_path / "out", "train")) == Counter(TEXTS * 3) - Counter(lowest * 3)


def test_a_text_of_mostly_equal_documents_is_refused(tmp_path: Path):
    with pytest.raises(FormatError, match=r"expected 400 documents or more, 200 of them to hold out together \(some"):
        prepare_documents(["the same"] * 200, tmp_path / "out", vocab_size=300)


def test_the_held_out_documents_are_the_same_for_every_tokenizer(folder: Path, tmp_path: Path):
    for out, size in (("a", 260), ("b", 330)):
        prepare([folder], tmp_path / out, PrepareConfig(vocab_size=size, min_held_out=7), num_workers=1)
    assert texts_of(tmp_path / "a", "held-out") == texts_of(tmp_path / "b", "held-out")


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_bytes_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path, num_workers: int):
    prepare([folder], tmp_path / "one", SMALL, num_workers=1)
    prepare([folder], tmp_path / "many", SMALL, num_workers=num_workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_layouts_of_the_same_documents_give_the_same_ids(folder: Path, tmp_path: Path):
    members = {f"openwebtext/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    layouts = {
        "archive": write(tmp_path / "openwebtext.tar", tar_of(members)),
        "jsonl": write(
            tmp_path / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in in_order(folder)).encode()
        ),
        "text": write(tmp_path / "a.txt", "\n<->\n".join(in_order(folder)).encode()),
    }
    prepare([folder], tmp_path / "folder", SMALL, num_workers=1)
    for name, source in layouts.items():
        config = PrepareConfig(vocab_size=300, min_held_out=7, document_separator=r"\n<->\n" if name == "text" else "")
        prepare([source], tmp_path / name, config, num_workers=1)
        for split in ("train", "held-out"):
            assert Counter(texts_of(tmp_path / name, split)) == Counter(texts_of(tmp_path / "folder", split))
        assert Tokenizer.load(tmp_path / name).fingerprint == Tokenizer.load(tmp_path / "folder").fingerprint


def in_order(folder: Path) -> list[str]:
    """The documents of a folder as they are read."""
    return [text for unit in corpus.list_units([folder]) for text in corpus.read_unit(unit, corpus.Tally())]


def test_a_tokenizer_can_be_given(folder: Path, tmp_path: Path):
    Tokenizer.train(["other text, other merges"] * 5, 270).save(tmp_path / "given.json")
    config = PrepareConfig(tokenizer=str(tmp_path / "given.json"), min_held_out=7)
    manifest = prepare([folder], tmp_path / "out", config, num_workers=2)
    given = Tokenizer.load(tmp_path / "given.json")
    assert manifest["tokenizer_fingerprint"] == given.fingerprint == Tokenizer.load(tmp_path / "out").fingerprint
    assert manifest["settings"]["tokenizer"] == given.fingerprint
    assert manifest["tokenizer_report"] == {}
    assert "tokenizer " not in summary(manifest, 1.0)
    assert Counter(texts_of(tmp_path / "out", "train") + texts_of(tmp_path / "out", "held-out")) == Counter(TEXTS)


def test_a_wordpiece_vocabulary_can_be_given(tmp_path: Path):
    letters = "abcdefghijklmnop"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{letter}" for letter in letters)]
    vocab = write(tmp_path / "vocab.txt", "".join(f"{word}\n" for word in words).encode())
    source = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode())
    manifest = prepare([source], tmp_path / "out", PrepareConfig(tokenizer=str(vocab), min_held_out=7), num_workers=1)
    assert manifest["tokenizer_file"] == "vocab.txt"
    assert verify(tmp_path / "out")
    tokenizer = WordPieceTokenizer.load(vocab)
    held_out = {tuple(document.tolist()) for document in open_shards(tmp_path / "out", "held-out").documents()}
    assert held_out == {tuple(tokenizer.encode(text)) for text in sorted(TEXTS, key=key_of)[:7]}


# --- learning the tokenizer -------------------------------------------------------------------------------


def learned_from(units: list[corpus.Unit], share: float, scratch: Path) -> tuple[Tokenizer, dict[str, Any]]:
    return learn_tokenizer(
        units,
        corpus.read_unit,
        share,
        vocab_size=300,
        min_count=2,
        num_workers=1,
        bar=lambda what: tqdm(desc=what, disable=True),
        scratch=scratch,
    )


def test_a_sample_is_the_start_of_every_unit_in_proportion(tmp_path: Path):
    texts = [f"{letter * 3} {letter * 3}" for letter in "àáâãäåæçèé"]  # of two bytes each
    units = [
        corpus.Unit("x", "documents", 5 * 13, documents=tuple(texts[:5])),
        corpus.Unit("y", "documents", 5 * 13, documents=tuple(texts[5:])),
    ]
    tokenizer, report = learned_from(units, 0.4, tmp_path)
    assert (report["documents"], report["bytes"]) == (4, 52)  # 26 of 65 bytes of each
    assert tokenizer.fingerprint == Tokenizer.train([*texts[:2], *texts[5:7]], 300).fingerprint
    assert learned_from(units, 1.0, tmp_path)[1]["documents"] == 10
    assert learned_from(units, 1e-9, tmp_path)[1]["documents"] == 2


def test_the_report_says_what_the_tokenizer_does():
    counts = {" ab": 6, "ab": 4, "abc": 2, "d": 3, "x" * 1025: 5}
    report = describe(learn(counts, 2))  # merges: a+b, then " "+ab
    assert report == {
        "distinct_chunks": 4,
        "left_out_long_chunks": 5,
        # characters: 6 x 3 + 4 x 2 + 2 x 3 + 3 = 35; tokens: 6 x 1 + 4 x 1 + 2 x 2 + 3 = 17
        "characters_per_token": round(35 / 17, 4),
        # one token: " ab", "ab" and "d" have 18 + 8 + 3 of the 35 bytes
        "whole_word_fraction": round(29 / 35, 4),
        "unused_ids": 258 - 4,  # used: " ab", "ab", "c", "d"
    }


def test_blocks_are_cut_by_size_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 10)
    units = [corpus.Unit(str(n), "text", size) for n, size in enumerate([4, 5, 1, 11, 3, 3])]
    blocks = [(block.number, [unit.name for unit in block.units]) for block in cut_blocks(iter(units))]
    assert blocks == [(0, ["0", "1", "2"]), (1, ["3"]), (2, ["4", "5"])]


# --- interruptions ----------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from electra.data import corpus, prepare
kill_at, kill_at_block, block_bytes, num_workers = map(int, sys.argv[1:5])
count, replace, cut_blocks = 0, os.replace, prepare.cut_blocks
def replace_or_die(source, target):
    global count
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
def cut_blocks_or_die(units):
    for block in cut_blocks(units):
        if block.number == kill_at_block:
            os.kill(os.getpid(), signal.SIGKILL)
        yield block
if __name__ == "__main__":
    os.replace, prepare.cut_blocks, corpus.BLOCK_BYTES = replace_or_die, cut_blocks_or_die, block_bytes
    config = prepare.PrepareConfig(vocab_size=300, min_held_out=7)
    prepare.prepare([Path(sys.argv[5])], Path(sys.argv[6]), config, num_workers=num_workers)
"""


def assert_killed_before_write_and_finished_later(
    kill_at: int, folder: Path, out: Path, whole: dict[str, bytes]
) -> bool:
    """Kill -9 just before the `kill_at`-th file gets its name, run again. False when there are fewer files."""
    arguments = [str(kill_at), "-1", "5000", "1", str(folder), str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False)
    if done.returncode == 0:
        return False
    assert done.returncode == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    with pytest.raises(FormatError, match="expected a finished shard folder"):
        open_shards(out)
    prepare([folder], out, SMALL, num_workers=1)
    assert contents(out) == whole
    shutil.rmtree(out)
    return True


@pytest.mark.parametrize("kill_at", [1, 3, 8, 17])
def test_killed_anywhere_the_same_command_ends_with_the_same_bytes(folder: Path, tmp_path: Path, kill_at: int):
    prepare([folder], tmp_path / "whole", SMALL, num_workers=1)
    assert assert_killed_before_write_and_finished_later(
        kill_at, folder, tmp_path / "out", contents(tmp_path / "whole")
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_before_every_single_file_the_same_command_ends_with_the_same_bytes(folder: Path, tmp_path: Path):
    prepare([folder], tmp_path / "whole", SMALL, num_workers=1)
    whole, kill_at = contents(tmp_path / "whole"), 1
    while assert_killed_before_write_and_finished_later(kill_at, folder, tmp_path / "out", whole):
        kill_at += 1
    assert kill_at > 30


def test_killed_with_workers_the_same_command_goes_on(folder: Path, tmp_path: Path):
    """Three blocks are handed to two workers, who may or may not finish theirs once their parent is gone."""
    script = write(tmp_path / "script.py", KILLED.encode())
    options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "check": False}

    def run(kill_at_block: int) -> int:
        command = [
            sys.executable,
            str(script),
            "-1",
            str(kill_at_block),
            "5000",
            "2",
            str(folder),
            str(tmp_path / "out"),
        ]
        return subprocess.run(command, **options).returncode

    assert run(kill_at_block=3) == -signal.SIGKILL
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert 0 < len(list((tmp_path / "out").glob(".work/block-*.json"))) <= 3
    assert run(kill_at_block=-1) == 0
    prepare([folder], tmp_path / "whole", SMALL, num_workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_finished_blocks_are_not_done_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocks: list[int] = []
    encode = prepare_encode.EncodeBlocks.__call__

    def watched(self: Any, block: Any) -> Any:
        if block and len(blocks) == 2:
            raise KeyboardInterrupt
        blocks.extend([block.number] if block else [])
        return encode(self, block)

    monkeypatch.setattr(prepare_encode.EncodeBlocks, "__call__", watched)
    with pytest.raises(KeyboardInterrupt):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    assert blocks == [0, 1]
    blocks.append(-1)
    prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    assert blocks[3:] == list(range(2, 2 + len(blocks[3:])))
    assert len(blocks) > 4


def test_a_finished_folder_is_left_as_it_is(folder: Path, tmp_path: Path):
    first = prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != ".lock"}
    assert prepare([folder], tmp_path / "out", SMALL, num_workers=1) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != ".lock"}


# --- bad input, each in one line --------------------------------------------------------------------------


@pytest.mark.parametrize("is_finished", [True, False])
def test_an_output_folder_of_other_settings_is_refused(folder: Path, tmp_path: Path, is_finished: bool):
    prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    if not is_finished:
        settings = read_json(tmp_path / "out" / "manifest.json")["settings"]
        (tmp_path / "out" / "manifest.json").unlink()
        write(tmp_path / "out" / ".work" / "settings.json", json.dumps(settings).encode())
    other = PrepareConfig(vocab_size=310, min_held_out=8)
    differences = r"\(min_held_out is 7, asked for 8; vocab_size is 300, asked for 310\)"
    expected = "out: expected a folder of this text and these settings, found others "
    with pytest.raises(FormatError, match=f"{expected}{differences}; use those or another --out"):
        prepare([folder], tmp_path / "out", other, num_workers=1)
    added = write(folder / "one-more_data.xz", inner_archive(["new"]))
    with pytest.raises(FormatError, match=r"the text of the files has changed since; num_files is 26, asked for 27"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    added.unlink()
    old = folder / "urlsf_subset00-3_data.xz"
    renamed = old.rename(old.with_suffix(".txt"))  # names say what a file is read as
    with pytest.raises(FormatError, match=r"found others \(the text of the files has changed since\); use those"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    renamed.rename(old)
    changed = bytes([*old.read_bytes()[:-1], 0])
    old.write_bytes(changed)  # the same name and size
    with pytest.raises(FormatError, match=r"found others \(the text of the files has changed since\); use those"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)


def test_an_output_folder_of_other_documents_in_memory_is_refused(tmp_path: Path):
    prepare_documents(TEXTS, tmp_path / "out", vocab_size=300, min_held_out=7)
    with pytest.raises(FormatError, match=r"found others \(the text of the files has changed since\); use those"):
        prepare_documents([*TEXTS[1:], "other"], tmp_path / "out", vocab_size=300, min_held_out=7)


def test_a_folder_in_use_is_refused(folder: Path, tmp_path: Path):
    with lock_folder(tmp_path / "out"), pytest.raises(FormatError, match="another process is using this folder"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)


def test_too_few_documents_are_refused(tmp_path: Path):
    with pytest.raises(FormatError, match="expected 100 documents or more, 50 of them to hold out, found 99; add text"):
        prepare_documents(TEXTS[:99], tmp_path / "a", vocab_size=300)
    with pytest.raises(
        FormatError, match=r"expected 1 documents or more, 0 of them .*, found 0 \(left out: {'empty': 2}\)"
    ):
        prepare_documents(["", "\n"], tmp_path / "b", vocab_size=300, min_held_out=0)
    assert prepare_documents(TEXTS[:100], tmp_path / "c", vocab_size=300)["num_documents"] == 100


def test_sources_without_files_are_refused(tmp_path: Path):
    (tmp_path / "in").mkdir()
    with pytest.raises(FormatError, match="in: expected files of text, found none; check the path"):
        prepare([tmp_path / "in"], tmp_path / "out", SMALL)


def test_bad_documents_stop_the_run_or_are_counted(tmp_path: Path, folder: Path):
    whole = (folder / "urlsf_subset00-3_data.xz").read_bytes()
    (folder / "urlsf_subset00-3_data.xz").write_bytes(whole[:-20])
    write(folder / "z.txt", b"caf\xe9")
    write(folder / "z2.txt", b" ")
    with pytest.raises(
        FormatError, match=r"urlsf_subset00-3_data.xz: expected a whole compressed file, found its end at byte"
    ):
        prepare([folder], tmp_path / "strict", SMALL, num_workers=2)
    config = PrepareConfig(vocab_size=300, min_held_out=7, skip_bad_documents=True)
    manifest = prepare([folder], tmp_path / "lenient", config, num_workers=2)
    assert manifest["skipped"] == {"damaged archive": 1, "empty": 1, "invalid UTF-8": 1}
    assert manifest["first_skipped"]["invalid UTF-8"] == f"{folder}/z.txt"
    assert 125 <= manifest["num_documents"] <= 130
    said = summary(manifest, 1.0)
    assert "held out); left out: 1 damaged archive, 1 empty, 1 invalid UTF-8\n" in said
    assert f"\nleft out   empty: the first is {folder}/z2.txt\nleft out   invalid UTF-8: the first is" in said


def test_too_little_space_is_seen_before_the_start(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1_000))
    with pytest.raises(OSError, match=r"out: expected about 0.0 GB free for 0.0 GB of text, found 0.0 GB; free some"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    assert not list((tmp_path / "out").glob("*.npy"))
    with pytest.raises(OSError, match="out: expected about"):
        prepare_command._check_space(tmp_path / "out", 2_100)
    write(tmp_path / "out" / "train-00000.tokens.npy", bytes(50))  # of the 1,050 bytes these are there
    prepare_command._check_space(tmp_path / "out", 2_100)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path):
    source = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 20).encode())
    arguments = (source, "--out", tmp_path / "out", "--vocab-size", 300)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (60_000, 60_000))
    done = run_command(*arguments, preexec_fn=limit)
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    expected = (
        rf"error: {tmp_path}/out/train-00000.tokens.npy: expected room for [\d,]+ bytes, found File too large; free"
    )
    assert re.match(expected, error), error
    assert not list((tmp_path / "out").glob("*.npy"))
    assert not list((tmp_path / "out").glob(".*.partial"))
    assert run_command(*arguments).returncode == 0
    assert verify(tmp_path / "out")


SIZES = "expected 260 (special tokens and bytes) to 65,536 (16 bits)"
MISTAKES = {
    "nowhere.txt --out OUT": "nowhere.txt: expected a file or a folder of text, found nothing; check the path",
    "IN --out OUT --vocab-size 259": f"--vocab-size: {SIZES}, found 259; choose one in that range",
    "IN --out OUT --vocab-size 65537": f"--vocab-size: {SIZES}, found 65,537; choose one in that range",
    "IN --out OUT --workers 0": "--workers: expected 1 or more, found 0; leave it out to use all cores",
    "IN --out OUT --min-count 0": "--min-count: expected int >= 1, found 0; give another value",
    "IN": "python -m electra prepare: expected sources and --out DIR; or --verify DIR; or --inspect DIR "
    "(--help lists what there is)",
    "--verify no": "no: expected a folder of token shards, found none; make it with python -m electra prepare",
    "IN --out IN": "a.txt: expected a folder to make or go on with, found a file; choose another --out",
    "IN --out OUT --document-separator <>": "a.txt: expected the document separator '<>' in some .txt file, found "
    "it in none; give another --document-separator, and another --out",
    "IN --out OUT --tokenizer t --min-count 3": "--min-count: expected --tokenizer or --min-count, found both; leave "
    "one out",
    "IN --out OUT --tokenizer no.json": "no.json: expected a tokenizer, found nothing; check the path",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_end_in_one_line(arguments: str, tmp_path: Path):
    source = write(tmp_path / "a.txt", b"text")
    places = {"IN": str(source), "OUT": str(tmp_path / "out")}
    done = run_command(*(places.get(argument, argument) for argument in arguments.split()))
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1].replace(f"{tmp_path}/", "")
    assert error == "error: " + MISTAKES[arguments]
    assert "Traceback" not in done.stderr


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_makes_verifies_and_inspects_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    main([str(folder), "--out", str(out), "--vocab-size", "300", "--min-held-out", "7", "--workers", "1"])
    captured = capsys.readouterr()
    assert captured.err == "", "no progress bars outside a terminal"
    printed = captured.out.splitlines()
    tokens = sum(len(Tokenizer.load(out).encode(text)) for text in TEXTS)
    size = sum(map(len, TEXTS))
    assert printed[0] == "documents  130 (7 held out); left out: none"
    assert (
        printed[1] == f"tokens     {tokens:,}, {tokens / 130:,.1f} a document, {size / tokens:.3f} bytes of text each"
    )
    assert printed[2].startswith("tokenizer  300 ids learned from 0.0 MB: ")
    assert re.fullmatch(r"time       [\d.]+ s, [\d.]+ MB of text a second", printed[3])
    main([str(folder), "--out", str(out), "--vocab-size", "300", "--min-held-out", "7"])
    again = capsys.readouterr().out.splitlines()
    assert again[:3] == printed[:3]
    assert re.fullmatch(r"time       [\d.]+ s, on top of what was there", again[3])
    main(["--verify", str(out)])
    assert capsys.readouterr().out == f"{out}: {verify(out)} files hold what was written\n"
    main(["--inspect", str(out)])
    assert capsys.readouterr().out == inspect(out) + "\n"
    (out / "train-00001.tokens.npy").write_bytes((out / "train-00001.tokens.npy").read_bytes()[:-1] + b"\x07")
    with pytest.raises(FormatError, match=r"train-00001.tokens.npy: expected sha256"):
        main(["--verify", str(out)])


def test_a_vocabulary_that_was_not_reached_and_a_missing_split_are_said(tmp_path: Path):
    documents = ["".join(random.Random(n).choices("ACDEFGHIKLMNPQRSTVWY", k=1500)) for n in range(9)]
    manifest = prepare_documents(documents, tmp_path / "out", vocab_size=500, min_held_out=0)
    notes = [line.partition("NOTE: ")[2] for line in summary(manifest, 1.0).splitlines() if "NOTE" in line]
    assert notes[0] == "pre-training needs held-out documents; give --min-held-out 1 or more"
    assert notes[1].startswith("500 ids were asked for, 260 learned: no further pair occurs 2 times in the text")
    assert notes[2].startswith("not learned from: 9 strings of more than 1,024 bytes without a break; put spaces")


def test_inspect_shows_sizes_and_three_windows(tmp_path: Path):
    prepare_documents(TEXTS, tmp_path / "out", vocab_size=300, min_held_out=7)
    lines = inspect(tmp_path / "out").splitlines()
    lengths = open_shards(tmp_path / "out").lengths()
    assert lines[0] == f"{tmp_path}/out: 300 ids, text from documents in memory"
    assert lines[1].split()[:5] == ["train", "123", "documents", f"{lengths.sum():,}", "tokens;"]
    assert lines[1].endswith(f"a document has {lengths.min()} to {lengths.max()}, median {int(sorted(lengths)[61])}")
    assert lines[2].split()[:3] == ["held-out", "7", "documents"]
    assert len(lines) == 6
    for n, line in enumerate(lines[3:], 1):
        assert line.startswith(f"window {n}: ")
        assert any(ast.literal_eval(line.partition(": ")[2]) in text for text in TEXTS)


def test_progress_is_shown_and_ends_at_all_of_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Before it is unpacked the size of the text is a guess."""
    prepare([folder], tmp_path / "out", SMALL, num_workers=1, show_progress=True)
    shown = capsys.readouterr().err
    assert all(f"{what}: 100%" in shown for what in ("counting", "merging", "encoding"))
    prepare_documents(TEXTS, tmp_path / "quiet", vocab_size=300, min_held_out=7)
    assert capsys.readouterr().err == ""


@pytest.mark.oracle
def test_real_documents_get_the_ids_of_the_library(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tokenizers = pytest.importorskip("tokenizers")
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 1 << 20)
    source = write(
        tmp_path / "in" / "u-1_data.xz", (real_data / "openwebtext" / "urlsf_subset00-1_data.xz").read_bytes()
    )
    prepare([source], tmp_path / "out", PrepareConfig(vocab_size=2_000), num_workers=1)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    library.encode_special_tokens = True
    for split in ("train", "held-out"):
        for document in open_shards(tmp_path / "out", split).documents():
            ids = document.tolist()
            text = bpe_decode(library, ids)
            assert library.encode(text, add_special_tokens=False).ids == ids


def bpe_decode(library: Any, ids: list[int]) -> str:
    """Text of ids by the library's names alone."""
    byte_of = {char: byte for byte, char in enumerate(bpe.BYTE_TO_CHAR)}
    return bytes(byte_of[char] for n in ids for char in library.id_to_token(n)).decode()
