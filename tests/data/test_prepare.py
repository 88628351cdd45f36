"""From text to a shard folder: `electra.data.prepare`, `electra.data.learn`, `electra.data.encode`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from electra.data import corpus
from electra.data import encode as prepare_encode
from electra.data.learn import cut_blocks, describe, learn_tokenizer
from electra.data.prepare import PrepareConfig, main, prepare, prepare_documents, summary
from electra.data.shards import open_shards, verify
from electra.files import PRETRAINED, FormatError, lock_folder, read_json
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


def test_every_document_is_in_one_split_as_the_tokenizer_encodes_it(folder: Path, tmp_path: Path):
    manifest = prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    train, held_out = (texts_of(tmp_path / "out", split) for split in ("train", "held-out"))
    assert Counter(train + held_out) == Counter(TEXTS)
    lowest = sorted(TEXTS, key=key_of)[:7]
    assert held_out == [text for text in in_order(folder) if text in lowest]
    tokenizer = Tokenizer.load(tmp_path / "out")
    ids = [document.tolist() for document in open_shards(tmp_path / "out").documents()]
    assert ids == [tokenizer.encode(text) for text in train]
    assert manifest == read_json(tmp_path / "out" / "manifest.json")
    assert manifest["num_documents"] == 130
    assert manifest["command"] == f"python -m electra prepare {folder} --vocab-size 300 --min-held-out 7"
    assert manifest["num_tokens"] == sum(len(tokenizer.encode(text)) for text in TEXTS)
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert len(manifest["splits"]["train"]) > 4  # one a block, and what was set aside in vain
    assert manifest["tokenizer_fingerprint"] == tokenizer.fingerprint
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


def test_where_half_a_percent_is_more_all_below_it_are_held_out_up_to_the_cap(tmp_path, monkeypatch):
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
def test_equal_documents_share_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: int, num_workers: int):
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
    lines = "".join(json.dumps({"text": text}) + "\n" for text in in_order(folder))
    layouts = [
        folder,
        write(tmp_path / "openwebtext.tar", tar_of(members)),
        write(tmp_path / "a.jsonl", lines.encode()),
        write(tmp_path / "a.txt", "\n<->\n".join(in_order(folder)).encode()),
    ]
    found = []
    for n, source in enumerate(layouts):
        out, separator = tmp_path / str(n), r"\n<->\n" if source.name == "a.txt" else ""
        prepare([source], out, dataclasses.replace(SMALL, document_separator=separator), num_workers=1)
        splits = [Counter(texts_of(out, split)) for split in ("train", "held-out")]
        found.append((splits, Tokenizer.load(out).fingerprint))
    assert all(one == found[0] for one in found)


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
    assert "tokenizer " not in summary(manifest)
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


def test_a_sample_is_the_start_of_every_unit_in_proportion(tmp_path: Path):
    texts = [f"{letter * 3} {letter * 3}" for letter in "àáâãäåæçèé"]  # of 13 bytes each
    parts = [texts[:5], texts[5:]]

    def learned_from(share: float) -> tuple[Tokenizer, dict[str, Any]]:
        units = [
            corpus.Unit("", "\n".join(json.dumps({"text": text}) for text in part).encode(), 5 * 13, "jsonl")
            for part in parts
        ]
        return learn_tokenizer(
            units, corpus.read_unit, share, vocab_size=300, min_count=2, num_workers=1, scratch=tmp_path
        )

    tokenizer, report = learned_from(0.4)
    assert (report["documents"], report["bytes"]) == (4, 52)  # 26 of 65 bytes of each
    assert tokenizer.fingerprint == Tokenizer.train([*texts[:2], *texts[5:7]], 300).fingerprint
    assert learned_from(1.0)[1]["documents"] == 10
    assert learned_from(1e-9)[1]["documents"] == 2


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


def test_a_tokenizer_that_lies_in_the_output_folder_is_not_taken_for_the_one_to_learn(tmp_path: Path, folder: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokenizer.json").write_bytes((PRETRAINED / "mini" / "tokenizer.json").read_bytes())
    for out in ("out", "clean"):
        prepare([folder], tmp_path / out, SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


def test_blocks_are_cut_by_size_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 10)
    units = [corpus.Unit(str(n), b"", size) for n, size in enumerate([4, 5, 1, 11, 3, 3])]
    assert [[unit.name for unit in block] for block in cut_blocks(units)] == [["0", "1", "2"], ["3"], ["4", "5"]]


KILLED = """
import os, signal, sys
from pathlib import Path
from electra.data import corpus, prepare
kill_at_write, kill_at_block, num_workers = map(int, sys.argv[3:])
num_writes, replace, cut_blocks = 0, os.replace, prepare.cut_blocks
def replace_or_die(source, target):
    global num_writes
    num_writes += 1
    if num_writes == kill_at_write:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
def cut_blocks_or_die(units):
    for number, block in enumerate(cut_blocks(units)):
        if number == kill_at_block:
            os.kill(os.getpid(), signal.SIGKILL)
        yield block
os.replace, prepare.cut_blocks, corpus.BLOCK_BYTES = replace_or_die, cut_blocks_or_die, 5000
config = prepare.PrepareConfig(vocab_size=300, min_held_out=7)
prepare.prepare([Path(sys.argv[1])], Path(sys.argv[2]), config, num_workers=num_workers)
"""


def is_killed(folder: Path, out: Path, *, at_write: int = -1, at_block: int = -1, num_workers: int = 1) -> bool:
    """Prepare; kill -9 just before the n-th file gets its name, or before a block is handed out, if there is one."""
    command = [sys.executable, "-c", KILLED, str(folder), str(out), str(at_write), str(at_block), str(num_workers)]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert code in (0, -signal.SIGKILL)
    assert (out / "manifest.json").exists() == (code == 0)
    return code != 0


@pytest.mark.parametrize("at_write", [1, 3, 4, 8, 17, 35])
def test_killed_anywhere_the_same_command_ends_with_the_same_bytes(folder: Path, tmp_path: Path, at_write: int):
    assert is_killed(folder, tmp_path / "out", at_write=at_write)
    with pytest.raises(FormatError, match=r"out: no token shards, or unfinished: no manifest.json; run"):
        open_shards(tmp_path / "out")
    for out in ("out", "whole"):
        prepare([folder], tmp_path / out, SMALL, num_workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_killed_with_workers_the_same_command_goes_on_after_the_finished_blocks(folder: Path, tmp_path: Path):
    """Three blocks are handed to two workers, who may or may not finish theirs once their parent is gone."""
    assert is_killed(folder, tmp_path / "out", at_block=3, num_workers=2)
    blocks = list((tmp_path / "out").glob(".work/block-*.json"))
    assert 0 < len(blocks) <= 3
    finished = [tmp_path / "out" / f"train-{block.stem[-5:]}.tokens.npy" for block in blocks]
    before = [path.stat().st_mtime_ns for path in finished]
    assert not is_killed(folder, tmp_path / "out", num_workers=2)
    assert [path.stat().st_mtime_ns for path in finished] == before
    prepare([folder], tmp_path / "whole", SMALL, num_workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_folder_is_left_as_it_is(folder: Path, tmp_path: Path):
    first = prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != ".lock"}
    assert prepare([folder], tmp_path / "out", SMALL, num_workers=1) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("is_finished", [True, False])
def test_an_output_folder_of_other_settings_is_refused(folder: Path, tmp_path: Path, is_finished: bool):
    prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    if not is_finished:
        settings = read_json(tmp_path / "out" / "manifest.json")["settings"]
        (tmp_path / "out" / "manifest.json").unlink()
        write(tmp_path / "out" / ".work" / "settings.json", json.dumps(settings).encode())
    other = PrepareConfig(vocab_size=310, min_held_out=8)
    expected = r"out: made from other text .* settings: "
    differences = "min_held_out is 7, asked for 8; vocab_size is 300, asked for 310; use the same text"
    with pytest.raises(FormatError, match=expected + differences):
        prepare([folder], tmp_path / "out", other, num_workers=1)
    added = write(folder / "one-more_data.xz", inner_archive(["new"]))
    with pytest.raises(FormatError, match=rf"{expected}content_sha256 is '\w+', .*; num_files is 26, asked for 27"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    added.unlink()
    old = folder / "urlsf_subset00-3_data.xz"
    renamed = old.rename(old.with_suffix(".txt"))  # names say what a file is read as
    only_the_text = rf"{expected}content_sha256 is '\w+', asked for '\w+'; use the same"
    with pytest.raises(FormatError, match=only_the_text):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)
    renamed.rename(old)
    old.write_bytes(bytes([*old.read_bytes()[:-1], 0]))  # the same name and size
    with pytest.raises(FormatError, match=only_the_text):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)


def test_a_folder_in_use_is_refused(folder: Path, tmp_path: Path):
    with lock_folder(tmp_path / "out"), pytest.raises(FormatError, match="another process is using this folder"):
        prepare([folder], tmp_path / "out", SMALL, num_workers=1)


def test_too_few_documents_are_refused(tmp_path: Path):
    too_few = {
        "expected 100 documents or more, 50 of them to hold out, found 99 .*; add text": (TEXTS[:99], 50),
        r"expected 1 documents or more, 0 of them .*, found 0 \(left out: {'empty': 2}": (["", "\n"], 0),
        "expected 400 documents or more, 200 of them .*; equal documents stay together": (["same"] * 200, 50),
    }
    for n, (message, (texts, min_held_out)) in enumerate(too_few.items()):
        with pytest.raises(FormatError, match=message):
            prepare_documents(texts, tmp_path / str(n), vocab_size=300, min_held_out=min_held_out)
    assert prepare_documents(TEXTS[:100], tmp_path / "enough", vocab_size=300)["num_documents"] == 100


def test_bad_documents_stop_the_run_or_are_counted(tmp_path: Path, folder: Path):
    whole = (folder / "urlsf_subset00-3_data.xz").read_bytes()
    (folder / "urlsf_subset00-3_data.xz").write_bytes(whole[:-20])
    write(folder / "z.txt", b"caf\xe9")
    write(folder / "z2.txt", b" ")
    with pytest.raises(FormatError, match=r"urlsf_subset00-3_data.xz: damaged archive: Compressed file ended before"):
        prepare([folder], tmp_path / "strict", SMALL, num_workers=2)
    config = PrepareConfig(vocab_size=300, min_held_out=7, skip_bad_documents=True)
    manifest = prepare([folder], tmp_path / "lenient", config, num_workers=2)
    assert manifest["skipped"] == {"damaged archive": 1, "empty": 1, "invalid UTF-8": 1}
    assert manifest["first_skipped"]["invalid UTF-8"] == f"{folder}/z.txt"
    assert 125 <= manifest["num_documents"] <= 130
    said = f"left out   1 empty, the first: {folder}/z2.txt\nleft out   1 invalid UTF-8, the first: {folder}/z.txt"
    assert f"\n{said}" in summary(manifest)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path):
    source = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 20).encode())
    arguments = (source, "--out", tmp_path / "out", "--vocab-size", 300)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (60_000, 60_000))
    done = run_command(*arguments, preexec_fn=limit)
    problem = "train-00000.tokens.npy: File too large; free some space; the same command goes on"
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/out/{problem}\n")
    assert not list((tmp_path / "out").glob("*.npy"))
    assert not list((tmp_path / "out").glob(".*.partial"))
    assert run_command(*arguments).returncode == 0
    assert verify(tmp_path / "out")


USAGE = "prepare: expected sources and --out DIR; or --verify DIR; or --inspect DIR (--help lists the flags)"
MISTAKES = {
    "nowhere.txt --out OUT": "nowhere.txt: No such file or directory; check the path",
    "EMPTY --out OUT": "empty: no file with a name that ends in .txt, .jsonl, .tar (each also compressed as .gz, .bz2 "
    "or .xz) or OpenWebText's .xz; check the path",
    "IN --out OUT --vocab-size 259": "--vocab-size: expected int >= 260 and <= 65536, found 259; give another value",
    "IN --out OUT --workers 0": "--workers: expected 1 or more, found 0; leave it out to use all cores",
    **dict.fromkeys(("IN", "IN --out OUT --verify IN", "--inspect IN --verify IN"), f"python -m electra {USAGE}"),
    "--verify no": "no: no such folder of token shards; make it with python -m electra prepare",
    "IN --out IN": "a.txt: File exists; a file is where a folder should be, choose another path",
    "IN --out OUT --document-separator <>": "a.txt: the document separator '<>' occurs in no .txt file; give another "
    "--document-separator, and another --out",
    "IN --out OUT --tokenizer t --min-count 3": "--min-count: expected --tokenizer or --min-count, found both; leave "
    "one out",
    "IN --out OUT --tokenizer no.json": "no.json: expected a tokenizer, found nothing; check the path",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_end_in_one_line(arguments: str, tmp_path: Path):
    source = write(tmp_path / "a.txt", b"text")
    (tmp_path / "empty").mkdir()
    places = {"IN": source, "OUT": tmp_path / "out", "EMPTY": tmp_path / "empty"}
    done = run_command(*(places.get(argument, argument) for argument in arguments.split()))
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1].replace(f"{tmp_path}/", "")
    assert error == "error: " + MISTAKES[arguments]


def test_the_command_makes_verifies_and_inspects_a_folder(folder: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    main([str(folder), "--out", str(out), "--vocab-size", "300", "--min-held-out", "7", "--workers", "1"])
    captured = capsys.readouterr()
    assert captured.err == "", "no progress bars outside a terminal"
    printed = captured.out.splitlines()
    tokens = sum(len(Tokenizer.load(out).encode(text)) for text in TEXTS)
    size = sum(map(len, TEXTS))
    assert printed[0] == "documents  130 (7 held out)"
    ratios = f"{tokens / 130:,.1f} a document, {size / tokens:.3f} bytes of text each"
    assert printed[1] == f"tokens     {tokens:,}, {ratios}"
    assert printed[2].startswith("tokenizer  300 ids learned from 0.0 MB: ")
    main([str(folder), "--out", str(out), "--vocab-size", "300", "--min-held-out", "7"])
    assert capsys.readouterr().out.splitlines() == printed
    main(["--verify", str(out)])
    assert capsys.readouterr().out == f"{out}: {verify(out)} files hold what was written\n"
    main(["--inspect", str(out)])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{out}: 300 ids, text from {folder}"
    assert shown[1].split() == ["train", "123", "documents", f"{open_shards(out).num_tokens:,}", "tokens"]
    assert shown[2].split()[:3] == ["held-out", "7", "documents"]
    for n, line in enumerate(shown[3:], 1):
        assert line.startswith(f"window {n}: ")
        assert any(ast.literal_eval(line.partition(": ")[2]) in text for text in TEXTS)
    assert n == 3
    (out / "train-00001.tokens.npy").write_bytes((out / "train-00001.tokens.npy").read_bytes()[:-1] + b"\x07")
    with pytest.raises(FormatError, match=r"train-00001.tokens.npy: expected sha256"):
        main(["--verify", str(out)])


def test_a_vocabulary_that_was_not_reached_and_a_missing_split_are_said(tmp_path: Path):
    documents = ["".join(random.Random(n).choices("ACDEFGHIKLMNPQRSTVWY", k=1500)) for n in range(9)]
    manifest = prepare_documents(documents, tmp_path / "out", vocab_size=500, min_held_out=0)
    notes = [line.partition("NOTE: ")[2] for line in summary(manifest).splitlines() if "NOTE" in line]
    assert notes[0] == "pre-training needs held-out documents; give --min-held-out 1 or more"
    assert notes[1].startswith("500 ids were asked for, 260 learned: no further pair occurs 2 times in the text")
    assert notes[2].startswith("not learned from: 9 strings of more than 1,024 bytes without a break; put spaces")
