"""Writes are whole or absent, digests are right, a folder has one writer."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from electra.files import FormatError, atomic_write, lock_folder, read_json, sha256_file, write_json
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


def test_json_comes_back_with_its_letters(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None, "Ġ"]})
    assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None, "Ġ"]}


@pytest.mark.parametrize(("content", "message"), [(b'{"a":\n,}', "at line 2"), (b"\xff{}", "expected UTF-8 JSON")])
def test_damaged_json_is_named_with_its_place(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"a.json: .*{message}"):
        read_json(path)


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
    assert "found it in use by another process; wait for that one" in refused.stderr
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
