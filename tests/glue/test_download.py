"""Fetching GLUE from a server on this machine: whole, cut, missing, wrong; and the commands."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.files import FormatError, sha256_file
from electra.glue import command as glue_command
from electra.glue import download as glue_download
from electra.glue.download import DOWNLOADS, build_mrpc, fetch_task, missing_files
from electra.glue.results import append_result
from electra.glue.tasks import TASKS
from tests.helpers.glue_files import SERVER_FILES, drawn_predictions, small_tests, write_all
from tests.helpers.records import record

__all__ = ["small_tests"]  # a fixture used by name

COLA = {  # the right number of rows, short ones
    "CoLA/train.tsv": b"x\t1\t\tGood.\n" * 8_550 + b"x\t0\t*\tBad the.\n",
    "CoLA/dev.tsv": b"x\t1\t\tGood.\n" * 1_043,
    "CoLA/test.tsv": b"index\tsentence\n" + b"0\tGood.\n" * 1_063,
}
BY_HAND = "try again, or put CoLA/train.tsv, CoLA/dev.tsv, CoLA/test.tsv into "


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; hangs up after some bytes if told to."""

    files: dict[str, bytes]
    hang_up_after: int | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.hang_up_after])

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files = {}
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


def serve(server: Server, monkeypatch: pytest.MonkeyPatch, *files: tuple[str, str, bytes]) -> None:
    """Serve released files, and expect them: task, path, content."""
    server.files = {f"/{path}": content for _, path, content in files}
    expected = [[task, path, hashlib.sha256(content).hexdigest()] for task, path, content in files]
    monkeypatch.setattr(glue_download, "DOWNLOADS", expected)


@pytest.fixture
def cola(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Serve a CoLA archive, and expect it."""
    archive = zipped({**COLA, "CoLA/original/x": b"more"})
    serve(server, monkeypatch, ("cola", "data/CoLA.zip", archive))
    return archive


def test_a_task_is_fetched_unpacked_and_checked(server: Server, cola: bytes, tmp_path: Path) -> None:
    assert missing_files(TASKS["cola"], tmp_path) == [tmp_path / "CoLA/train.tsv", tmp_path / "CoLA/dev.tsv"]
    fetch_task(TASKS["cola"], tmp_path, url_of(server))
    found = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == COLA  # nothing else is left or unpacked
    assert missing_files(TASKS["cola"], tmp_path) == []


@pytest.mark.parametrize("kind", ["missing", "hung up", "cut", "other bytes"])
def test_a_failed_download_is_one_line_with_what_to_do_and_leaves_nothing(server, cola, tmp_path, kind):
    digest = hashlib.sha256(cola).hexdigest()[:12]
    message = f"expected the file of sha256 {digest}…, found {len(cola) - 100:,} bytes of sha256 .*; "
    if kind == "missing":
        server.files.clear()
        message = "CoLA.zip: expected CoLA.zip, found Not Found; "
    elif kind == "hung up":
        server.hang_up_after = len(cola) - 100
    else:
        server.files["/data/CoLA.zip"] = cola[:-100] + bytes(100 if kind == "other bytes" else 0)
        message = message.replace(f"{len(cola) - 100:,}", f"{len(server.files['/data/CoLA.zip']):,}")
    with pytest.raises((ConnectionError, FormatError), match=f"^[^\n]*{message}{BY_HAND}[^\n]*$"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert not any(tmp_path.iterdir())


def test_an_archive_with_the_wrong_number_of_rows_is_refused(server, tmp_path, monkeypatch):
    archive = zipped({name: content + b"x\t1\t\tMore.\n" for name, content in COLA.items()})
    serve(server, monkeypatch, ("cola", "data/CoLA.zip", archive))
    with pytest.raises(FormatError, match="expected 8,551 rows, found 8,552"):
        fetch_task(TASKS["cola"], tmp_path, url_of(server))
    assert not any(tmp_path.iterdir())


def test_mnli_comes_with_the_diagnostic_set(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {split: file._replace(num_rows=(1,)) for split, file in TASKS["mnli"].splits.items()}
    task = replace(TASKS["mnli"], splits=small)
    row = b"sentence1\tsentence2\tgold_label\nA.\tB.\tneutral\n"
    archive = zipped({file.path: row for file in small.values() if file.path.startswith("MNLI")})
    diagnostic = b"index\tsentence1\tsentence2\n0\tA.\tB.\n"
    serve(server, monkeypatch, ("mnli", "data/AX.tsv", diagnostic), ("mnli", "data/MNLI.zip", archive))
    fetch_task(task, tmp_path, url_of(server))
    assert (tmp_path / "AX" / "AX.tsv").read_bytes() == diagnostic
    assert missing_files(task, tmp_path) == []


def test_mrpc_is_built_from_its_source_by_the_ids_of_its_dev_rows(tmp_path: Path) -> None:
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n".encode()
    (tmp_path / "train.txt").write_bytes(header + b"1\t3\t5\ta\tb\n0\t5\t3\tc\td\n1\t7\t9\te\tf\n")
    (tmp_path / "test.txt").write_bytes(header + b"1\t11\t13\tg\th\n0\t15\t17\ti\tj\n")
    (tmp_path / "ids").write_bytes(b"5\t3\n")
    build_mrpc(tmp_path / "MRPC", tmp_path / "train.txt", tmp_path / "test.txt", tmp_path / "ids")
    assert {path.name: path.read_bytes() for path in (tmp_path / "MRPC").iterdir()} == {
        "train.tsv": header + b"1\t3\t5\ta\tb\n1\t7\t9\te\tf\n",
        "dev.tsv": header + b"0\t5\t3\tc\td\n",  # the order of the two ids counts
        "test.tsv": b"index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t11\t13\tg\th\n1\t15\t17\ti\tj\n",
    }


def test_mrpc_built_from_its_source_equals_the_files_in_circulation(real_data: Path, tmp_path: Path) -> None:
    given = real_data / "glue_data" / "MRPC"
    header, *train = (given / "train.tsv").read_bytes().splitlines(keepends=True)
    _, *dev = (given / "dev.tsv").read_bytes().splitlines(keepends=True)
    # The source interleaves them; any merge that keeps both orders is as good.
    is_dev = np.random.default_rng(3).permutation(np.repeat([True, False], [len(dev), len(train)]))
    source = header + b"".join(dev.pop(0) if choice else train.pop(0) for choice in is_dev)
    assert len(source) == 1_047_044  # as the source that is fetched
    test = (given / "test.tsv").read_bytes().splitlines()
    labelled = header + b"".join(b"1\t" + line.split(b"\t", 1)[1] + b"\n" for line in test[1:])
    assert len(labelled) == 441_275
    (tmp_path / "train.txt").write_bytes(source)
    (tmp_path / "test.txt").write_bytes(labelled)
    build_mrpc(tmp_path / "MRPC", tmp_path / "train.txt", tmp_path / "test.txt", given / "dev_ids.tsv")
    for name in ("train", "dev", "test"):
        assert sha256_file(tmp_path / "MRPC" / f"{name}.tsv") == sha256_file(given / f"{name}.tsv")


def test_every_task_has_its_download() -> None:
    assert {task for task, _, _ in DOWNLOADS} == {*TASKS}
    assert all(len(sha256) == 64 for _, _, sha256 in DOWNLOADS)


def test_download_prints_a_line_for_each_file_and_goes_on_after_a_task_that_fails(
    server: Server, cola: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, monkeypatch, ("cola", "data/CoLA.zip", cola), ("rte", "data/RTE.zip", b"x"))
    del server.files["/data/RTE.zip"]
    argv = ["download", "--task", "rte,CoLA", "--data-dir", str(tmp_path), "--base-url", url_of(server)]
    assert glue_command.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    assert "RTE.zip: expected RTE.zip, found Not Found; try again, or put RTE/train.tsv" in captured.err
    assert [line.split(", ")[0] for line in captured.out.splitlines()] == [
        f"{tmp_path}/CoLA/train.tsv: 8,551 rows",
        f"{tmp_path}/CoLA/dev.tsv: 1,043 rows",
        f"{tmp_path}/CoLA/test.tsv: 1,063 rows",
    ]
    assert glue_command.main([*argv[:2], "cola", *argv[3:]]) == 0


def records_of(sources: Mapping[str, Path], seed: int) -> list[dict[str, Any]]:
    """One run a task with all its predictions, and one of a task of one's own, which must not matter."""
    runs: dict[str, dict[str, str]] = {"own": {"test": "other.tsv"}}
    for name, (task, split) in SERVER_FILES.items():
        if name in sources:
            runs.setdefault(task, {})[split] = sources[name].name
    return [record(task, seed, accuracy_matched=0.5) | {"predictions": files} for task, files in runs.items()]


def submission(folder: Path, seed: int = 0) -> int:
    argv = ["submission", "--results", str(folder), "--out", str(folder / "s.zip"), "--seed", str(seed)]
    return glue_command.main(argv)


@pytest.mark.usefixtures("small_tests")
def test_a_submission_is_made_of_one_seeds_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FormatError, match="expected predictions of test by a CoLA model, found none; run train_glue"):
        submission(tmp_path, 3)  # no results at all
    records = records_of(write_all(tmp_path, but="WNLI.tsv"), 3)
    for one in records:
        append_result(tmp_path, one)
    assert submission(tmp_path, 3) == 0
    assert "11 files, checked; WNLI is not_entailment for every row" in capsys.readouterr().out
    with pytest.raises(FormatError, match="expected predictions of test by a CoLA model, found none; run train_glue"):
        submission(tmp_path, 4)
    for change in ({"run_id": "another"}, {"from_scratch": True}):  # two runs of CoLA; CoLA by another model
        append_result(tmp_path, records[1] | {"run_id": "another", "task": "own"} | change)
        append_result(tmp_path, records[1] | change)
        with pytest.raises(ValueError, match=r"expected one .* run of seed 3 by one model, found more; give each"):
            submission(tmp_path, 3)


@pytest.mark.usefixtures("small_tests")
def test_each_of_the_eleven_files_holds_its_own_rows_predictions(tmp_path: Path) -> None:
    for one in records_of(write_all(tmp_path, drawn=True), 0):
        append_result(tmp_path, one)
    assert submission(tmp_path) == 0
    two = ("entailment", "not_entailment")
    words = {"mnli": ("entailment", "neutral", "contradiction"), "qnli": two, "rte": two}
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert sorted(archive.namelist()) == sorted(SERVER_FILES)
        for name, (task, split) in SERVER_FILES.items():
            values = drawn_predictions(name, TASKS[task].splits[split].num_rows[0])
            written = [words.get(task, "01")[v] if task != "stsb" else f"{min(5, max(0, v)):.3f}" for v in values]
            written = ["0"] * 146 if task == "wnli" else written
            expected = "".join(f"{index}\t{word}\n" for index, word in enumerate(written))
            assert archive.read(name).decode() == f"index\tprediction\n{expected}", name
