"""Fetch the official GLUE files: progress, going on after a break, sizes, digests, and MRPC's dev rule."""

from __future__ import annotations

import http
import http.client
import shutil
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from electra.files import FormatError, atomic_write, sha256_file
from electra.glue.files import read_split
from electra.glue.release import BASE_URL, DOWNLOADS, Download
from electra.glue.tasks import Task


def fetch_file(url: str, path: Path, download: Download, remedy: str) -> None:
    """Fetch one file, going on where an earlier call stopped; `path` appears complete or not at all.

    Raises:
        ConnectionError: it cannot be reached, or the connection ended early.
        FormatError: it is not the released file.
    """
    partial = path.with_name(path.name + ".partial")
    num_there = partial.stat().st_size if partial.exists() else 0
    if num_there < download.num_bytes:
        try:
            _receive(url, partial, num_there, download.num_bytes, remedy)
        except (OSError, http.client.HTTPException) as error:  # of the network or of the disk
            found = getattr(error, "reason", error)
            raise ConnectionError(f"{url}: expected {path.name}, found {found}; {remedy}") from None
    num_there = partial.stat().st_size
    if num_there < download.num_bytes:
        raise ConnectionError(
            f"{url}: expected {download.num_bytes:,} bytes, found the connection closed after {num_there:,}; "
            "the same command goes on from there"
        )
    found = sha256_file(partial)
    if num_there > download.num_bytes or found != download.sha256:
        partial.unlink()
        raise FormatError(f"{url}: expected {download.num_bytes:,} bytes of sha256 {download.sha256[:12]}…, "
                          f"found {num_there:,} of {found[:12]}…; {remedy}")  # fmt: skip
    partial.rename(path)


def _receive(url: str, partial: Path, start: int, num_bytes: int, remedy: str) -> None:
    """Add to `partial` what is missing of `num_bytes`; of a longer answer, only the block that shows it."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        start = start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0  # else it sends all of it
        promised = response.headers.get("Content-Length", "")
        if promised.isdigit() and start + int(promised) != num_bytes:
            raise FormatError(f"{url}: expected {num_bytes:,} bytes, found {start + int(promised):,}; {remedy}")
        with (
            open(partial, "ab" if start else "wb") as file,
            tqdm(total=num_bytes, initial=start, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar,
        ):
            while bar.n <= num_bytes and (block := response.read(1 << 16)):
                file.write(block)
                bar.update(len(block))


def fetch_task(task: Task, data_dir: Path, base_url: str = BASE_URL) -> None:
    """Fetch all files of a task into `data_dir` and check them.

    Raises:
        ConnectionError, FormatError: with the files that one has to put there by hand.
    """
    archives = data_dir / ".downloads"
    archives.mkdir(parents=True, exist_ok=True)
    wanted = [file.path for file in task.splits.values()]
    remedy = f"try again, or put {', '.join(wanted)} into {data_dir}/"
    fetched = []
    for download in DOWNLOADS[task.name]:
        fetched.append(archives / download.path.rsplit("/", 1)[-1])
        if not fetched[-1].exists():
            fetch_file(base_url + download.path, fetched[-1], download, remedy)
    if task.name == "mrpc":
        build_mrpc(data_dir / task.title, *fetched)
    for path in fetched:
        if path.suffix == ".zip":
            _extract(path, data_dir, wanted, remedy)
        elif path.name == "AX.tsv":
            _place(path, data_dir / task.splits["diagnostic"].path)
    for split in task.splits:
        read_split(task, data_dir, split)
    for path in fetched:
        path.unlink()


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)


def _extract(path: Path, data_dir: Path, wanted: Sequence[str], remedy: str) -> None:
    """The wanted members of a zip, whose CRCs are checked on the way."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in set(wanted) & set(archive.namelist()):
                target = data_dir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as content, atomic_write(target) as file:
                    shutil.copyfileobj(content, file)
    except zipfile.BadZipFile as error:
        path.unlink()
        raise FormatError(f"{path}: expected a zip archive, found {error}; {remedy}") from None


def build_mrpc(folder: Path, train_source: Path, test_source: Path, dev_ids: Path) -> None:
    """MRPC's three files: a source row is a dev row if its pair of ids is in the list, else a training row.

    The public test source has labels; the file made here has none. Byte-equal to the files others hand out.
    Source: GLUE-baselines download_glue_data.py.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_dev = {tuple(line.split(b"\t")) for line in dev_ids.read_bytes().splitlines()}
    header, *rows = train_source.read_bytes().strip().split(b"\n")
    splits: dict[str, list[bytes]] = {"train": [header], "dev": [header]}
    for row in rows:
        splits["dev" if tuple(row.split(b"\t")[1:3]) in is_dev else "train"].append(row.rstrip())
    _, *rows = test_source.read_bytes().strip().split(b"\n")
    unlabelled = [b"%d\t%s" % (index, row.rstrip().split(b"\t", 1)[1]) for index, row in enumerate(rows)]
    splits["test"] = [b"index\t#1 ID\t#2 ID\t#1 String\t#2 String", *unlabelled]
    for name, lines in splits.items():
        with atomic_write(folder / f"{name}.tsv") as file:
            file.write(b"\n".join(lines) + b"\n")
    _place(dev_ids, folder / "dev_ids.tsv")
