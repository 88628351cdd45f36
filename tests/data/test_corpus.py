"""Documents out of files: `electra.data.corpus`, `electra.data.archives`."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import os
import pickle
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from electra.data import archives, corpus
from electra.data.archives import BadDocument
from electra.data.corpus import Tally, list_units, read_unit, text_size
from electra.data.demo_text import standard_library_documents
from electra.files import FormatError
from tests.helpers.archives import inner_archive, tar_of, write

PACKERS: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
TEXTS = ["One, with é.\n\nTwo lines.", "漢字", "third\n"]


def read(
    *sources: Path, skip_bad: bool = False, separator: str = "", text_field: str = "text"
) -> tuple[list[str], dict[str, int]]:
    """All documents of some sources, and what was left out."""
    tally = Tally()
    units = list_units(sources, document_separator=separator)
    read_one = partial(read_unit, skip_bad=skip_bad, document_separator=separator, text_field=text_field)
    return [text for unit in units for text in read_one(unit, tally)], dict(tally.left_out)


def test_the_extracted_folder_and_the_newer_distribution_of_plain_tars_are_read_by_name(tmp_path: Path):
    for name, texts in (("urlsf_subset01-1", ["d"]), ("urlsf_subset00-2", ["c"]), ("urlsf_subset00-10", ["a", "b"])):
        write(tmp_path / "openwebtext" / f"{name}_data.xz", inner_archive(texts))
        members = {f"openwebtext/{name}_data.xz": inner_archive(texts)}
        write(tmp_path / "subsets" / f"{name}.tar", tar_of(members))
    assert read(tmp_path / "openwebtext")[0] == read(tmp_path / "subsets")[0] == ["a", "b", "c", "d"]


def test_the_original_archive_is_read_in_its_own_order(tmp_path: Path):
    members = {
        "openwebtext/": b"",
        "openwebtext/urlsf_subset00-1000_data.xz": inner_archive(["a", "b"]),
        "openwebtext/urlsf_subset00-1_data.xz": inner_archive(["c"], prefix="./"),
        "openwebtext/urlsf_subset00-2_data.xz.lock": b"stray",
        "openwebtext/README": b"no document",
    }
    path = write(tmp_path / "openwebtext.tar.xz", lzma.compress(tar_of(members)))
    assert read(path) == (["a", "b", "c"], {"name not read": 2})


@pytest.mark.parametrize("packing", PACKERS)
def test_a_folder_of_text_holds_one_document_a_file(packing: str, tmp_path: Path):
    for n, text in enumerate(TEXTS):
        write(tmp_path / f"{n % 2}" / f"{n}.txt{packing}", PACKERS[packing](text.encode()))
    write(tmp_path / "notes.md", b"not read")
    assert read(tmp_path)[0] == [TEXTS[0], TEXTS[2], TEXTS[1]]


@pytest.mark.parametrize("packing", PACKERS)
def test_separators_stand_between_the_documents_of_a_file(packing: str, tmp_path: Path):
    content = "\n<|end|>\n".join(TEXTS) + "\n<|end|>\n"
    path = write(tmp_path / f"all.txt{packing}", PACKERS[packing](content.encode()))
    documents, skipped = read(path, separator="<|end|>")
    assert documents == [text.strip("\n") for text in TEXTS]
    assert skipped == {"empty": 1}  # after the last separator


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_jsonl_holds_one_document_a_line(packing: str, suffix: str, tmp_path: Path):
    lines = [json.dumps({"body": text, "id": n}, ensure_ascii=n == 1) for n, text in enumerate(TEXTS)]
    path = write(tmp_path / f"all{suffix}{packing}", PACKERS[packing]("\r\n".join([*lines, "", ""]).encode()))
    assert read(path, text_field="body") == (TEXTS, {})


@pytest.mark.parametrize("name", ["docs.tar", "docs.tar.gz", "docs.tgz", "docs.tar.bz2", "docs.tbz2", "docs.txz"])
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_of_text_are_read(name: str, format: int, tmp_path: Path):
    long_name = ("a/" * 30 + "b" * 95 if format == tarfile.USTAR_FORMAT else "é" * 150) + ".txt"
    members = {"./one.txt": b"one", long_name: b"two", "skip.md": b"three", "four.txt": b"x" * 512}
    packing = next((packing for packing in (".gz", ".bz2", ".xz") if name.endswith(packing[1:])), "")
    path = write(tmp_path / name, PACKERS[packing](tar_of(members, format)))
    assert read(path)[0] == ["one", "two", "x" * 512]


def test_names_in_upper_case_are_read(tmp_path: Path):
    write(tmp_path / "a.TXT", b"a")
    write(tmp_path / "b.Jsonl.GZ", gzip.compress(b'{"text": "b"}'))
    write(tmp_path / "c.TAR.XZ", lzma.compress(tar_of({"C.TXT": b"c"})))
    write(tmp_path / "d.TGZ", gzip.compress(tar_of({"d.txt": b"d"})))
    assert read(tmp_path) == (["a", "b", "c", "d"], {})


@pytest.mark.parametrize("packing", ["", ".xz"])
def test_files_of_every_kind_are_read_from_archives(packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In an archive of archives, as in an inner one that a worker reads, or reads as a stream since it is long."""
    lines = b'{"text": "b"}\r\n{"text": "c"}\n'
    members = {
        "a.txt": b"a",
        "b.jsonl": lines,
        "c.jsonl.bz2": bz2.compress(lines),
        "d.txt.gz": gzip.compress(b"d"),
        "e.tar": tar_of({"e.txt": b"e", "f.pdf": b"no text"}),
        "f.tgz": gzip.compress(tar_of({"f.txt.xz": lzma.compress(b"f")})),
        "g_data.xz": inner_archive(["g", "h"]),
        "notes.md": b"no text",
    }
    path = write(tmp_path / f"all.tar{packing}", PACKERS[packing](tar_of(members)))
    expected = (list("abcbcdefgh"), {"name not read": 2})
    assert read(path) == expected
    assert read(write(tmp_path / "o.tar", tar_of({"all_data.xz": lzma.compress(tar_of(members))}))) == expected
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 1)
    assert read(tmp_path / "o.tar") == expected


def test_the_real_layouts_are_read(real_data: Path):
    documents = read(real_data / "openwebtext-real-documents")[0]
    assert len(documents) == 4
    units = list_units([real_data / "openwebtext-mini.tar.xz"])
    first = next(units)
    assert first.name.startswith(f"{real_data / 'openwebtext-mini.tar.xz'}:")
    assert len(list(read_unit(first, Tally()))) == 100


def test_long_files_are_cut_where_documents_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 40)
    monkeypatch.setattr(archives, "READ_BYTES", 7)
    texts = [f"document {n} " + "x" * (n * 11 % 60) for n in range(20)]
    lines = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts).encode())
    plain = write(tmp_path / "b.txt", "<>".join(texts).encode())
    assert len(list(list_units([lines]))) > 5
    assert len(list(list_units([plain], document_separator="<>"))) > 5
    assert read(lines)[0] == read(plain, separator="<>")[0] == texts
    for path, separator in ((lines, ""), (plain, "<>")):
        units = list(list_units([path], document_separator=separator))
        whole = path.read_bytes()
        assert all(whole[unit.offset :][: unit.size] == unit.content for unit in units)
        assert all(unit.first_line == 1 + whole[: unit.offset].count(b"\n") for unit in units)


def test_no_archive_is_unpacked_to_disk_and_units_can_be_sent_to_workers(tmp_path: Path):
    path = write(tmp_path / "in" / "o.tar", tar_of({"u-1_data.xz": inner_archive(TEXTS)}))
    units = [pickle.loads(pickle.dumps(unit)) for unit in list_units([path])]
    assert [text for unit in units for text in read_unit(unit, Tally())] == TEXTS
    assert [file.name for file in tmp_path.rglob("*")] == ["in", "o.tar"]


def test_sizes_are_exact_for_plain_text_and_thrice_the_packed_bytes_else(tmp_path: Path):
    plain = write(tmp_path / "a.txt", b"12345")
    packed = write(tmp_path / "b_data.xz", inner_archive(TEXTS))
    outer = write(tmp_path / "c.tar", tar_of({"u_data.xz": inner_archive(TEXTS)}))
    texts = write(tmp_path / "d.tar", tar_of({"u.txt": b"12345"}))
    assert text_size(plain) == 5
    assert text_size(packed) == 3 * packed.stat().st_size
    assert (text_size(outer), text_size(texts)) == (3 * outer.stat().st_size, texts.stat().st_size)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 10, 1000])
def test_separators_are_found_whatever_the_line_ends(line_end, block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(archives, "READ_BYTES", 3)
    texts = [f"one {n}{line_end}two" for n in range(9)]
    path = write(tmp_path / "a.txt", (2 * line_end).join([*texts, ""]).encode())
    assert read(path, separator="\n\n")[0] == texts
    tally = Tally()
    for unit in list_units([path], document_separator="\n\n"):
        list(read_unit(unit, tally, document_separator="\n\n"))
    assert tally.num_separators >= 8  # a unit ends where one stood


def test_documents_without_a_visible_character_are_counted_and_left_out(tmp_path: Path):
    assert read(write(tmp_path / "u_data.xz", inner_archive(["", " \n\t", "x", "\u3000"]))) == (["x"], {"empty": 3})


def test_a_file_is_read_once_whatever_leads_to_it(tmp_path: Path):
    for n in range(3):
        write(tmp_path / "in" / "b" / f"{n}.txt", str(n).encode())
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "same").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "in" / "z.txt").symlink_to(tmp_path / "in" / "b" / "1.txt")
    (tmp_path / "in" / "a.txt").hardlink_to(tmp_path / "in" / "b" / "2.txt")
    assert read(tmp_path / "in") == (["2", "0", "1"], {"read already": 4})  # and b/2.txt
    assert read(tmp_path / "in", tmp_path / "in" / "b" / "0.txt", tmp_path / "in" / "b")[1] == {"read already": 6}


def test_links_that_lead_nowhere_are_refused_or_counted(tmp_path: Path):
    (tmp_path / "#a.txt").symlink_to("me@host.77")
    (tmp_path / "self").symlink_to("self")
    write(tmp_path / "a.txt", b"a")
    with pytest.raises(BadDocument, match=r"#a.txt: unreadable: No such file or directory; repair it, or pass --skip"):
        read(tmp_path)
    assert read(tmp_path, skip_bad=True) == (["a"], {"unreadable": 2})


def test_what_is_no_file_of_text_is_counted(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.txt")
    write(tmp_path / "a.txt", b"a")
    for name in ("notes.md", "b.txt.zst", "c.zip", "d", ".ipynb_checkpoints/a.txt", ".b.txt"):
        write(tmp_path / name, b"no text")
    assert read(tmp_path) == (["a"], {"name not read": 4, "special file": 1, "hidden": 2})
    assert read(tmp_path / ".ipynb_checkpoints") == (["no text"], {})


def test_links_and_special_files_in_a_tar_are_counted(tmp_path: Path):
    kinds = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.REGTYPE]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for n, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"{n}.txt")
            member.type, member.linkname = kind, "5.txt" * (kind in kinds[:2])
            archive.addfile(member)
        sparse = tarfile.TarInfo("s.txt")
        sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}
        archive.addfile(sparse)
    assert read(tmp_path / "a.tar")[1] == {"link in a tar": 2, "special file": 3, "empty": 1}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_other_encodings_than_utf8_are_refused_or_counted(encoding: str, name: str, tmp_path: Path):
    path = write(tmp_path / name, '{"text": "one"}\n{"text": "two"}\n'.encode(encoding))
    with pytest.raises(BadDocument, match=rf"{name}.*: invalid UTF-8: byte 0x.. at offset [01] \(UTF-16"):
        read(path)
    documents, skipped = read(path, skip_bad=True)
    assert (documents, set(skipped)) == ([], {"invalid UTF-8"})


def test_byte_order_marks_are_no_text(tmp_path: Path):
    mark = "\ufeff".encode()
    write(tmp_path / "a.txt", mark + b"a" + b"##" + mark + b"b\xef\xbb\xbf")
    write(tmp_path / "b.jsonl", mark + b'{"text": "c"}\n' + mark + b'{"text": "\\ufeffd"}\n')
    write(tmp_path / "c.tar", tar_of({"e.txt": mark + b"e", "f.txt": mark}))
    documents, skipped = read(tmp_path, separator="##")
    assert documents == ["a", "b\ufeff", "c", "d", "e"]
    assert skipped == {"byte order mark": 5, "empty": 1}


def test_documents_beyond_the_bound_are_refused_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of each kind one of 1,001 bytes between short ones, where 1,000 are allowed."""
    assert archives.MAX_DOCUMENT_BYTES == 256 << 20
    monkeypatch.setattr(archives, "MAX_DOCUMENT_BYTES", 1_000)
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 60)
    monkeypatch.setattr(archives, "READ_BYTES", 7)
    long = b"x" * 1_100
    write(tmp_path / "a.txt.xz", lzma.compress(long))
    write(tmp_path / "b.tar", tar_of({"1.txt": b"1", "2.txt": long, "3.txt": b"3"}))
    write(tmp_path / "c_data.xz", lzma.compress(tar_of({"4.txt": b"4", "5.txt": long, "6.txt": b"6"})))
    write(tmp_path / "d.jsonl", b'{"text": "7"}\n{"text": "' + long + b'"}\n{"text": "8"}\n{"text": "\xff"}')
    with pytest.raises(BadDocument, match=r"a.txt.xz: too long: more than 0 MiB in one document; cut it with"):
        read(tmp_path)
    with pytest.raises(BadDocument, match=r"d.jsonl, offset 14: too long"):
        read(tmp_path / "d.jsonl")
    assert read(tmp_path, skip_bad=True) == (list("134678"), {"too long": 4, "invalid UTF-8": 1})
    cut = write(tmp_path / "e.txt", b"one##" + long + b"##two##" + long)
    assert read(cut, skip_bad=True, separator="##") == (["one", "two"], {"too long": 2})


def refused(path: Path, message: str, kept: list[str], separator: str = "") -> None:
    """Reading stops with `message`; with `skip_bad` it counts the reason once and keeps `kept`."""
    with pytest.raises(BadDocument) as raised:
        read(path, separator=separator)
    error = pickle.loads(pickle.dumps(raised.value))  # as a worker sends it
    said, _, remedy = str(error).replace(f"{path.parent}/", "").rpartition(", or ")
    assert said.rpartition("; ")[0] == message
    assert remedy == "pass --skip-bad-documents to count it and go on"
    assert read(path, skip_bad=True, separator=separator) == (kept, {error.reason: 1})


EARLY_END = "damaged archive: Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz"])
def test_a_truncated_jsonl_keeps_lines_before_the_damage(packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(archives, "READ_BYTES", 100)
    lines = "".join(json.dumps({"text": f"{n} {n**40}"}) + "\n" for n in range(2000)).encode()
    packed = PACKERS[packing](lines)
    path = write(tmp_path / f"a.jsonl{packing}", packed[: len(packed) * 3 // 4])
    documents = read(path, skip_bad=True)[0]
    assert packing == ".bz2" or len(documents) > 500
    refused(path, f"a.jsonl{packing}: {EARLY_END}", [f"{n} {n**40}" for n in range(len(documents))])


def test_a_truncated_archive_is_named_and_those_beside_it_are_read(tmp_path: Path):
    whole = inner_archive(TEXTS)
    refused(write(tmp_path / "u-1_data.xz", whole[:-40]), f"u-1_data.xz: {EARLY_END}", TEXTS)
    members = {"u-1_data.xz": whole[:-40], "u-2_data.xz": inner_archive(["good"])}
    refused(write(tmp_path / "o.tar", tar_of(members)), f"o.tar:u-1_data.xz: {EARLY_END}", [*TEXTS, "good"])


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz"])
def test_damaged_packing_is_named(packing: str, tmp_path: Path):
    packed = bytearray(PACKERS[packing](b"some text that is long enough " * 20))
    packed[len(packed) // 2] ^= 0xFF
    path = write(tmp_path / f"a.txt{packing}", bytes(packed))
    with pytest.raises(BadDocument, match=rf"a.txt{packing}: damaged archive: .*; repair it"):
        read(path)
    assert read(path, skip_bad=True) == ([], {"damaged archive": 1})


@pytest.mark.parametrize("packing", [".bz2", ".xz"])
def test_other_bytes_behind_a_packed_file_are_named(packing: str, tmp_path: Path):
    """`lzma` and `bz2` stop there without a word, and may leave out a whole second part."""
    pack = PACKERS[packing]
    path = write(tmp_path / f"a.jsonl{packing}", pack(b'{"text": "kept"}\n') + b"?" + pack(b'{"text": "lost"}\n'))
    refused(path, f"a.jsonl{packing}: damaged archive: other bytes follow the compressed data", ["kept"])


def header(type: bytes, size: int) -> bytes:
    """A tar header."""
    member = tarfile.TarInfo("1.txt")
    member.type, member.size = type, size
    return member.tobuf(tarfile.GNU_FORMAT)


TAR = tar_of({"0.txt": b"kept", "1.txt": b"lost"})
DAMAGED_TARS = {
    "a corrupt header": (TAR[:1124] + b"x" + TAR[1125:], "bad checksum"),
    "a cut header": (TAR[:1124], "truncated header"),
    "a cut between files": (TAR[:1024], "the archive has no end mark"),
    "a cut before a content": (TAR[:1536], None),
    "other bytes in place of the end": (TAR[:1024] + b"x" * 512, "invalid header"),
    "a huge size": (TAR[:1024] + header(tarfile.REGTYPE, 1 << 55) + b"lost" * 128, None),
    "a negative size": (TAR[:1024] + header(tarfile.REGTYPE, -512), "header with a size of -512 bytes"),
    "a long name of a huge size": (
        TAR[:1024] + header(tarfile.GNUTYPE_LONGNAME, (1 << 20) + 1) + bytes(10_240),
        "header with a size of 1,048,577 bytes",
    ),
}


@pytest.mark.parametrize("packing", ["", ".xz"])
@pytest.mark.parametrize(("content", "problem"), DAMAGED_TARS.values(), ids=DAMAGED_TARS)
def test_damage_in_a_tar_is_named_and_what_precedes_it_is_read(content, problem, packing, tmp_path):
    path = write(tmp_path / f"a.tar{packing}", PACKERS[packing](content))
    detail = f"{problem}, after offset 1,024 of the tar" if problem else "the tar ends within a file"
    refused(path, f"a.tar{packing}: damaged archive: {detail}", ["kept"])
    outer = write(tmp_path / "o.tar", tar_of({path.name: path.read_bytes(), "2.txt": b"too"}))
    refused(outer, f"o.tar:a.tar{packing}: damaged archive: {detail}", ["kept", "too"])


def test_tars_behind_a_tar_are_read_and_other_bytes_there_named(tmp_path: Path):
    second = tar_of({"3.txt": b"3"})
    assert read(write(tmp_path / "a.tar", TAR + second))[0] == ["kept", "lost", "3"]
    assert read(write(tmp_path / "b.tar.gz", gzip.compress(TAR) + gzip.compress(second)))[0] == ["kept", "lost", "3"]
    assert read(write(tmp_path / "c_data.xz", lzma.compress(TAR) + lzma.compress(second)))[0] == ["kept", "lost", "3"]
    path = write(tmp_path / "d.tar", TAR + b"x" * 512)
    refused(path, "d.tar: damaged archive: invalid header, after offset 2,048 of the tar", ["kept", "lost"])
    path = write(tmp_path / "e_data.xz", lzma.compress(b"just text " * 100))
    refused(path, "e_data.xz: damaged archive: invalid header, after offset 0 of the tar", [])


def test_invalid_utf8_is_named_by_its_place_in_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {"0.txt": b"good", "1.txt": "é".encode() + b"ab\xff", "2.txt": b"good too"}
    path = write(tmp_path / "u-1_data.xz", lzma.compress(tar_of(files)))
    refused(path, "u-1_data.xz:1.txt: invalid UTF-8: byte 0xff at offset 4", ["good", "good too"])
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 8)
    monkeypatch.setattr(archives, "READ_BYTES", 4)
    path = write(tmp_path / "a.txt", b"one##\n\ntwo##three##f\xe9our##five")
    place = path.read_bytes().index(0xE9)
    refused(path, f"a.txt: invalid UTF-8: byte 0xe9 at offset {place}", ["one", "two", "three", "five"], separator="##")
    path = write(tmp_path / "b.jsonl", b'{"text": "one"}\n\n{"text": "tw\xff"}\n')
    place = path.read_bytes().index(0xFF)
    refused(path, f"b.jsonl, line 3: invalid UTF-8: byte 0xff at offset {place}", ["one"])


NO_TEXT = "no text field: expected an object with text in 'text', found "


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": ', "bad JSON line: Expecting value: line 1 column 10 (char 9)"),
        ('["text"]', f'{NO_TEXT}["text"]'),
        ('{"body": "x", "id": 3}', f'{NO_TEXT}{{"body": "x", "id": 3}}'),
        ('{"text": null}', f'{NO_TEXT}{{"text": null}}'),
        ('{"text": "x", "text": "y"}', "bad JSON line: a key twice"),
        (f'{{"body": "{"x" * 99}"}}', f'{NO_TEXT}{{"body": "{"x" * 90}'),
        ('{"text": "x", "id": ' + "9" * 5000 + "}", "bad JSON line: Exceeds the limit"),
        ("[" * 100_000, "bad JSON line: maximum recursion depth exceeded"),
        (r'{"text": "ab\ud83d"}', "lone surrogate: U+D83D at character 2 is not Unicode text"),
    ],
)
def test_bad_json_lines_are_named(line: str, problem: str, tmp_path: Path):
    path = write(tmp_path / "a.jsonl", f'{{"text": "good"}}\n{line}\n'.encode())
    with pytest.raises(BadDocument) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}, line 2: {problem}")
    assert read(path, skip_bad=True) == (["good"], {raised.value.reason: 1})


def test_a_source_with_a_name_that_is_not_read_is_refused_also_beside_a_good_one(tmp_path: Path):
    sources = [write(tmp_path / "a.txt", b"good"), write(tmp_path / "notes.md", b"text")]
    with pytest.raises(FormatError, match=r"notes\.md: expected a name that ends in \.txt"):
        list(list_units(sources))


def test_the_demo_has_enough_english_in_many_documents():
    documents = list(standard_library_documents())
    assert 400 < len(documents) < 900
    assert 1_000_000 < sum(map(len, documents)) < 4_000_000
    assert all(text.strip() for text in documents)
    assert documents[:90] == list(itertools.islice(standard_library_documents(), 90))
    assert sum(len(text) for text in documents if " the " in text) > 0.98 * sum(map(len, documents))
