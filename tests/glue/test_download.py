"""Fetching GLUE from a server on this machine: whole, broken off, cut, missing, wrong; and the commands."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import math
import os
import socket
import struct
import threading
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

from electra.files import FormatError, sha256_file
from electra.glue import command as glue_command
from electra.glue import download as glue_download
from electra.glue import release as glue_release
from electra.glue.download import build_mrpc, fetch_file, fetch_task
from electra.glue.release import DOWNLOADS, RELEASED_SHA256, Download, missing_files
from electra.glue.tasks import TASKS
from tests.helpers.glue_files import SERVER_FILES, drawn_predictions, small_tests, write_all

__all__ = ["small_tests"]  # a fixture used by name

COLA = {  # the right number of rows, short ones
    "train.tsv": b"x\t1\t\tGood.\n" * 8_550 + b"x\t0\t*\tBad the.\n",
    "dev.tsv": b"x\t1\t\tGood.\n" * 1_043,
    "test.tsv": b"index\tsentence\n" + b"0\tGood.\n" * 1_063,
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; understands ranges; can hang up in the middle."""

    files: dict[str, bytes]
    hang_up_after: int | None = None
    resets = False
    has_ranges = True
    has_length = True
    num_sent = 0
    requests: list[str]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        wanted = self.headers.get("Range", "")
        self.server.requests.append(f"{self.path} {wanted}".strip())
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-") or 0) if self.server.has_ranges else 0
        self.send_response(206 if start else 200)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        content = content[start : self.server.hang_up_after]
        for first in range(0, len(content), 1 << 16):
            self.server.num_sent += self.wfile.write(content[first : first + (1 << 16)])
        if self.server.resets:  # closing with linger 0 sends a reset instead of an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = {}, []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def download_of(content: bytes, path: str = "data/CoLA.zip") -> Download:
    return Download(path, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def cola(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Serve a CoLA archive, and expect it."""
    archive = zipped({f"CoLA/{name}": content for name, content in COLA.items()} | {"CoLA/original/x": b"more"})
    monkeypatch.setattr(glue_download, "DOWNLOADS", {"cola": (download_of(archive),)})
    monkeypatch.setattr(glue_release, "RELEASED_SHA256", {})
    server.files["/data/CoLA.zip"] = archive
    return archive


def test_a_task_is_fetched_unpacked_and_checked(server: Server, cola: bytes, tmp_path: Path) -> None:
    fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert {path.name: path.read_bytes() for path in (tmp_path / "CoLA").iterdir()} == COLA
    assert not any((tmp_path / ".downloads").iterdir())  # nothing is left behind, nothing else unpacked
    assert missing_files(TASKS["cola"], tmp_path) == []


def test_a_broken_link_says_which_files_to_put_where(server: Server, cola: bytes, tmp_path: Path) -> None:
    server.files.clear()
    files = "CoLA/train.tsv, CoLA/dev.tsv, CoLA/test.tsv"
    message = rf"CoLA.zip: expected CoLA.zip, found Not Found; try again, or put {files} into "
    with pytest.raises(ConnectionError, match=message):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))


def test_a_machine_without_a_network_says_so_in_one_line(cola: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"found .*refused; try again, or put CoLA/train.tsv") as caught:
        fetch_task(TASKS["cola"], tmp_path, "http://127.0.0.1:9/")  # nothing listens on the discard port
    assert "\n" not in str(caught.value)


def test_a_broken_connection_is_gone_on_from(server: Server, cola: bytes, tmp_path: Path) -> None:
    server.hang_up_after = len(cola) // 3
    with pytest.raises(
        ConnectionError, match=rf"found the connection closed after {len(cola) // 3:,}; the same command"
    ):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    server.hang_up_after = None
    fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert server.requests == ["/data/CoLA.zip", f"/data/CoLA.zip bytes={len(cola) // 3}-"]
    assert (tmp_path / "CoLA" / "dev.tsv").read_bytes() == COLA["dev.tsv"]


def test_a_reset_connection_is_one_line_and_gone_on_from(server: Server, cola: bytes, tmp_path: Path) -> None:
    server.hang_up_after, server.resets = 0, True
    with pytest.raises(ConnectionError, match=r"expected CoLA.zip, found .*[Rr]eset.*; try again"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    server.hang_up_after, server.resets = None, False
    fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert missing_files(TASKS["cola"], tmp_path) == []


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    server.files["/data/CoLA.zip"], server.has_ranges = content, False
    (tmp_path / "CoLA.zip.partial").write_bytes(b"old")
    fetch_file(url_of(server) + "data/CoLA.zip", tmp_path / "CoLA.zip", download_of(content), "remedy")
    assert (tmp_path / "CoLA.zip").read_bytes() == content


def test_a_download_that_was_complete_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    content = b"whole" * 1_000
    (tmp_path / "CoLA.zip.partial").write_bytes(content)
    fetch_file(url_of(server) + "data/CoLA.zip", tmp_path / "CoLA.zip", download_of(content), "remedy")
    assert (tmp_path / "CoLA.zip").read_bytes() == content
    assert server.requests == []


def test_an_archive_that_the_server_cut_is_refused_by_its_size(server: Server, cola: bytes, tmp_path: Path) -> None:
    server.files["/data/CoLA.zip"] = cola[:-100]
    with pytest.raises(FormatError, match=rf"expected {len(cola):,} bytes, found {len(cola) - 100:,}; try again"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert not (tmp_path / "CoLA").exists()


def test_a_server_that_does_not_answer_is_given_up_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(request: urllib.request.Request, timeout: float = math.inf) -> None:
        raise TimeoutError(f"no answer in {timeout:g} s")

    monkeypatch.setattr(urllib.request, "urlopen", silent)
    with pytest.raises(ConnectionError, match=r"expected CoLA.zip, found no answer in 60 s; remedy"):
        fetch_file("http://x/CoLA.zip", tmp_path / "CoLA.zip", download_of(b"x"), "remedy")


def test_an_answer_without_a_length_is_read_no_further_than_the_known_size(server: Server, tmp_path: Path) -> None:
    server.has_length, server.files["/data/CoLA.zip"] = False, bytes(50_000_000)
    with pytest.raises(FormatError, match=r"expected 28,999 bytes of sha256 .*, found .*; remedy"):
        fetch_file(url_of(server) + "data/CoLA.zip", tmp_path / "CoLA.zip", download_of(bytes(28_999)), "remedy")
    assert server.num_sent < 25_000_000  # what the sockets hold between the two
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_one_line_with_the_address(
    server: Server, cola: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullBar(tqdm):  # type: ignore[type-arg]
        def update(self, n: float | None = 1) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(glue_download, "tqdm", FullBar)
    with pytest.raises(ConnectionError, match=r"CoLA.zip: expected CoLA.zip, found .*No space left.*; try again"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))


def test_other_bytes_of_the_right_size_are_refused_and_not_kept(server: Server, cola: bytes, tmp_path: Path) -> None:
    server.files["/data/CoLA.zip"] = cola[:-100] + bytes(100)
    with pytest.raises(FormatError, match=rf"expected {len(cola):,} bytes of sha256 .*, found {len(cola):,} of"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert not any((tmp_path / ".downloads").iterdir())


def test_an_archive_that_is_none_is_refused_and_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/data/CoLA.zip"] = b"<html>moved</html>"
    monkeypatch.setattr(glue_download, "DOWNLOADS", {"cola": (download_of(b"<html>moved</html>"),)})
    with pytest.raises(FormatError, match="expected a zip archive, found File is not a zip file"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert not any((tmp_path / ".downloads").iterdir())


def test_an_archive_with_the_wrong_number_of_rows_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped({f"CoLA/{name}": content + b"x\t1\t\tMore.\n" for name, content in COLA.items()})
    monkeypatch.setattr(glue_download, "DOWNLOADS", {"cola": (download_of(archive),)})
    server.files["/data/CoLA.zip"] = archive
    with pytest.raises(FormatError, match="expected 8,551 rows, found 8,552"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))


def test_mnli_comes_with_the_diagnostic_set(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {split: file._replace(num_rows=(1,)) for split, file in TASKS["mnli"].splits.items()}
    task = replace(TASKS["mnli"], splits=small)
    row = b"sentence1\tsentence2\tgold_label\nA.\tB.\tneutral\n"
    archive = zipped({file.path: row for file in small.values() if file.path.startswith("MNLI")})
    served = {"data/MNLI.zip": archive, "data/AX.tsv": b"index\tsentence1\tsentence2\n0\tA.\tB.\n"}
    monkeypatch.setattr(glue_download, "DOWNLOADS", {"mnli": [download_of(c, p) for p, c in served.items()]})
    server.files = {"/" + path: content for path, content in served.items()}
    fetch_task(task, tmp_path, url_of(server))
    assert (tmp_path / "AX" / "AX.tsv").read_bytes() == served["data/AX.tsv"]
    assert missing_files(task, tmp_path) == []


def test_mrpc_is_built_from_its_source_by_the_ids_of_its_dev_rows(tmp_path: Path) -> None:
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n".encode()
    (tmp_path / "train.txt").write_bytes(header + b"1\t3\t5\ta\tb\n0\t5\t3\tc\td\n1\t7\t9\te\tf\n")
    (tmp_path / "test.txt").write_bytes(header + b"1\t11\t13\tg\th\n0\t15\t17\ti\tj\n")
    (tmp_path / "ids").write_bytes(b"5\t3\n")
    build_mrpc(tmp_path / "MRPC", tmp_path / "train.txt", tmp_path / "test.txt", tmp_path / "ids")
    made = {path.name: path.read_bytes() for path in (tmp_path / "MRPC").iterdir()}
    assert made == {
        "train.tsv": header + b"1\t3\t5\ta\tb\n1\t7\t9\te\tf\n",
        "dev.tsv": header + b"0\t5\t3\tc\td\n",  # the order of the two ids counts
        "test.tsv": b"index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t11\t13\tg\th\n1\t15\t17\ti\tj\n",
        "dev_ids.tsv": b"5\t3\n",
    }


def test_mrpc_built_from_a_source_of_the_released_size_equals_the_files_in_circulation(
    real_data: Path, tmp_path: Path
) -> None:
    given = real_data / "glue_data" / "MRPC"
    header, *train = (given / "train.tsv").read_bytes().splitlines(keepends=True)
    _, *dev = (given / "dev.tsv").read_bytes().splitlines(keepends=True)
    # The source interleaves them; any merge that keeps both orders is as good.
    is_dev = np.random.default_rng(3).permutation(np.repeat([True, False], [len(dev), len(train)]))
    source = header + b"".join(dev.pop(0) if choice else train.pop(0) for choice in is_dev)
    assert len(source) == DOWNLOADS["mrpc"][0].num_bytes
    test = (given / "test.tsv").read_bytes().splitlines()
    labelled = header + b"".join(b"1\t" + line.split(b"\t", 1)[1] + b"\n" for line in test[1:])
    (tmp_path / "train.txt").write_bytes(source)
    (tmp_path / "test.txt").write_bytes(labelled)
    assert len(labelled) == DOWNLOADS["mrpc"][1].num_bytes
    build_mrpc(tmp_path / "MRPC", tmp_path / "train.txt", tmp_path / "test.txt", given / "dev_ids.tsv")
    for name in ("train", "dev", "test", "dev_ids"):
        assert sha256_file(tmp_path / "MRPC" / f"{name}.tsv") == RELEASED_SHA256[f"MRPC/{name}.tsv"]


def test_every_task_has_its_download_and_only_known_files_have_digests() -> None:
    assert DOWNLOADS.keys() == TASKS.keys()
    assert all(len(download.sha256) == 64 for downloads in DOWNLOADS.values() for download in downloads)
    known = {file.path for task in TASKS.values() for file in task.splits.values()} | {"MRPC/dev_ids.tsv"}
    assert set(RELEASED_SHA256) <= known


# --- the command ------------------------------------------------------------------------------------------


def test_download_prints_a_line_for_each_file_it_checked(
    server: Server, cola: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["download", "--task", "CoLA", "--data-dir", str(tmp_path), "--base-url", url_of(server)]
    assert glue_command.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == [
        "CoLA/train.tsv: 8,551 rows", "CoLA/dev.tsv: 1,043 rows", "CoLA/test.tsv: 1,063 rows",
    ]  # fmt: skip


def test_download_goes_on_to_the_next_task_and_fails_in_the_end(
    server: Server,
    cola: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloads = {"cola": (download_of(cola),), "rte": (download_of(b"x", "data/RTE.zip"),)}
    monkeypatch.setattr(glue_download, "DOWNLOADS", downloads)
    argv = ["download", "--task", "rte,cola", "--data-dir", str(tmp_path), "--base-url", url_of(server)]
    assert glue_command.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    assert "RTE.zip: expected RTE.zip, found Not Found; try again, or put RTE/train.tsv" in captured.err
    assert "CoLA/dev.tsv: 1,043 rows" in captured.out


def test_verify_says_what_is_there_what_is_not_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "CoLA").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "CoLA" / name).write_bytes(COLA[name])
    digests = {"CoLA/train.tsv": hashlib.sha256(COLA["train.tsv"]).hexdigest(), "CoLA/dev.tsv": "0" * 64}
    monkeypatch.setattr(glue_release, "RELEASED_SHA256", digests)
    assert glue_command.main(["verify", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert f"CoLA/train.tsv: 8,551 rows, sha256 {digests['CoLA/train.tsv']}, as released" in captured.out
    assert "CoLA/test.tsv: not there" in captured.out
    assert captured.err.splitlines() == [
        f"error: {tmp_path}/CoLA/dev.tsv: expected sha256 000000000000…, found "
        f"{hashlib.sha256(COLA['dev.tsv']).hexdigest()[:12]}…; "
        "fetch it with python -m electra glue download --task cola"
    ]


def test_verify_of_a_named_task_wants_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert glue_command.main(["verify", str(tmp_path), "--task", "wnli"]) == 2
    assert capsys.readouterr().err.count("expected a file of rows, found none") == 3


def test_the_data_here_is_as_released(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert glue_command.main(["verify", str(real_data / "glue_data")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("as released") for line in lines) == 16
    assert sum(line.endswith("not there") for line in lines) == sum(len(t.splits) for t in TASKS.values()) - 16


def records_of(sources: Mapping[str, Path], seed: int) -> list[dict[str, Any]]:
    """One run a task with all its predictions, then lines that must not matter: a repetition, a task of one's own."""
    runs: dict[str, dict[str, str]] = {}
    for name, (task, split) in SERVER_FILES.items():
        runs.setdefault(task, {})[split] = sources[name].name
    runs_and_others = [*runs.items(), ("cola", {"dev": "dev.tsv"}), ("own", {"dev": "other.tsv"})]
    return [{"run_id": "a", "task": task, "seed": seed, "predictions": files} for task, files in runs_and_others]


def write_records(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.usefixtures("small_tests")
def test_a_submission_is_made_of_one_seeds_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["submission", "--results", str(tmp_path), "--out", str(tmp_path / "s.zip"), "--seed"]
    with pytest.raises(FormatError, match="expected predictions of test by a CoLA model, found none; run train_glue"):
        glue_command.main([*argv, "3"])  # no results at all
    records = records_of(write_all(tmp_path), 3)
    write_records(tmp_path, records)
    assert glue_command.main([*argv, "3"]) == 0
    assert glue_command.main(["submission", "--check", str(tmp_path / "s.zip")]) == 0
    assert "11 files, checked; WNLI from majority" in capsys.readouterr().out
    with pytest.raises(FormatError, match="expected predictions of test by a CoLA model, found none; run train_glue"):
        glue_command.main([*argv, "4"])
    write_records(tmp_path, [*records, records[0] | {"run_id": "b"}])
    with pytest.raises(ValueError, match="expected one cola run of seed 3, found 2"):
        glue_command.main([*argv, "3"])


@pytest.mark.usefixtures("small_tests")
def test_each_of_the_eleven_files_holds_its_own_rows_predictions(tmp_path: Path) -> None:
    write_records(tmp_path, records_of(write_all(tmp_path, drawn=True), 0))
    out = tmp_path / "s.zip"
    assert glue_command.main(["submission", "--results", str(tmp_path), "--out", str(out), "--wnli", "model"]) == 0
    two = ("entailment", "not_entailment")
    words = {"mnli": ("entailment", "neutral", "contradiction"), "qnli": two, "rte": two}
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == sorted(SERVER_FILES)
        for name, (task, split) in SERVER_FILES.items():
            values = drawn_predictions(name, TASKS[task].splits[split].num_rows[0])
            written = [words.get(task, "01")[v] if task != "stsb" else f"{min(5, max(0, v)):.3f}" for v in values]
            expected = "".join(f"{index}\t{word}\n" for index, word in enumerate(written))
            assert archive.read(name).decode() == f"index\tprediction\n{expected}", name
