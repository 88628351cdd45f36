"""Writes are whole or absent, digests are right, a folder has one writer."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys

import pytest

from electra.files import FormatError, atomic_write, lock_folder, read_json, read_records, sha256_file, write_json
from tests.conftest import ROOT


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError), atomic_write(path) as file:  # noqa: PT012 (the second write is to fail)
        file.write(b"half of the new")
        file.write("not bytes")
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_write_replaces_the_file_in_one_step(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it


def test_json_comes_back_with_its_letters(tmp_path):
    value = {"é": [1, 2.5, None, "Ġ", "half a pair \udcff"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "é" in (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{}")  # a byte order mark, as some editors put it first
    assert read_json(tmp_path / "a.json") == {}


DAMAGE = [
    (b"", "expected JSON, found Expecting value at column 1"),
    (b'{"step": 1,\n "b" 2}', "expected JSON, found Expecting ':' delimiter at line 2, column 6"),
    (b'{"step": "\xff"}', "expected JSON, found 'utf-8' codec can't decode byte 0xff in position 10"),
    (b'{"step": NaN}', "expected finite numbers, found NaN"),
    (b'{"step": ' + b"[" * 100_000, "expected JSON, found maximum recursion depth exceeded"),
    (b'{"step": ' + b"9" * 5_000 + b"}", "Exceeds the limit"),
    (b"[1, 2]", "expected a JSON object, found a list"),
    (b"{}", "expected int as 'step', found no such field"),
    (b'{"step": "7"}', "expected int as 'step', found '7'"),
    (b'{"step": 1' + b"0" * 19 + b"}", "expected int as 'step', found 10000000000000000000"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGE)
def test_damage_to_a_json_file_is_one_line_that_names_file_and_place(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError) as error:
        read_json(path, step=int)
    assert str(error.value).startswith(f"{path}: {message}")
    assert str(error.value).endswith("; restore the file")
    assert len(str(error.value)) < len(str(path)) + 180


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3], [1.0, True, "1", None]),
        (float, [0.5, 7], [True, "0.5", None]),
        (str, ["", "a"], [1, None, ["a"]]),
        (bool, [True], [1, None]),
        (list, [[], [1]], [{}, "ab"]),
        (int | None, [1, None, ...], [1.5, "1"]),
        (list[str], [[], ["a", "b"]], [["a", 1], "ab", {"a": "b"}]),
        (dict[str, float], [{}, {"a": 1, "b": 0.5}], [{"a": 1, "b": "0.5"}, ["a"]]),
    ],
)
def test_the_type_of_each_named_field_is_checked(tmp_path, kind, good, bad):
    for value in good:
        record = {} if value is ... else {"x": value}
        write_json(tmp_path / "a", record)
        assert read_json(tmp_path / "a", x=kind) == record
    for value in bad:
        write_json(tmp_path / "a", {"x": value})
        with pytest.raises(FormatError, match=r"expected .* as 'x', found"):
            read_json(tmp_path / "a", x=kind)


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        (b"[1, 2]\n", "expected a JSON object, found a list"),
        (b'{"step": "2"}\r\n', "expected int as 'step', found '2'"),
        (b"\xff\n", "expected JSON, found 'utf-8' codec can't decode"),
        (b'{"ste\n', "expected JSON, found Unterminated string"),
        (b'{"step": "whole, but of another type"}', "expected int as 'step'"),
    ],
)
def test_a_damaged_line_of_a_log_is_an_error_with_its_number(damaged, problem, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"step": 1}\n\n' + damaged)
    with pytest.raises(FormatError, match=rf"a.jsonl:3: {re.escape(problem)}.*; restore or remove the line"):
        read_records(tmp_path / "a.jsonl", step=int)


def test_a_last_line_that_a_kill_cut_short_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"step": 1}\n\n{"step": 2}\n{"step": {"a": 6}')
    assert read_records(tmp_path / "a.jsonl", step=int) == [{"step": 1}, {"step": 2}]


def test_a_failed_write_names_its_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/a.json'"), atomic_write(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_digest_is_that_of_all_bytes(tmp_path):
    data = bytes(range(256)) * 10_007  # more than two blocks
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path):
    code = f"import pathlib, electra.files\nwith electra.files.lock_folder(pathlib.Path({str(tmp_path)!r})): pass"
    command = [sys.executable, "-c", code]
    with lock_folder(tmp_path):
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "another process is using this folder; wait until it ends" in refused.stderr
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
