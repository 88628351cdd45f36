"""The official GLUE files: where they come from, which of them a folder lacks, and how to fetch them."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from tqdm import tqdm

from electra.files import FormatError, sha256_file
from electra.glue.files import read_split
from electra.glue.tasks import Task

BASE_URL = "https://dl.fbaipublicfiles.com/"


DOWNLOADS = [line.split() for line in """
cola glue/data/CoLA.zip f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff
sst2 glue/data/SST-2.zip d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa
mrpc senteval/senteval_data/msr_paraphrase_train.txt 60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89
mrpc senteval/senteval_data/msr_paraphrase_test.txt a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784
mrpc glue/data/mrpc_dev_ids.tsv 971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7
stsb glue/data/STS-B.zip e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85
qqp glue/data/QQP-clean.zip 40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0
mnli glue/data/AX.tsv 0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd
mnli glue/data/MNLI.zip e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633
qnli glue/data/QNLIv2.zip e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5
rte glue/data/RTE.zip 6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee
wnli glue/data/WNLI.zip ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46
""".strip().splitlines()]  # fmt: skip
"""Task, path under `BASE_URL`, SHA-256. Source: GLUE-baselines download_glue_data.py; huggingface/datasets."""


def missing_files(task: Task, data_dir: Path) -> list[Path]:
    """Return the files that are needed to train and score on a task but are missing in `data_dir`."""
    needed = [data_dir / task.splits[name].path for name in ("train", *task.dev_splits)]
    return [path for path in needed if not path.is_file()]


def fetch_file(url: str, path: Path, sha256: str) -> Path:
    """Fetch one file and return `path`.

    ConnectionError if it cannot be fetched or written; FormatError if its digest is wrong, as after a cut connection.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as file:
            options = {"total": response.length, "unit": "B", "unit_scale": True, "desc": path.name}
            with tqdm.wrapattr(response, "read", **options) as reader:
                shutil.copyfileobj(reader, file)
    except (OSError, http.client.HTTPException) as error:  # an error of the network or of the disk
        raise ConnectionError(f"{url}: expected {path.name}, found {getattr(error, 'reason', error)}") from None
    if (found := sha256_file(path)) != sha256:
        size = f"{path.stat().st_size:,} bytes of sha256 {found[:12]}…"
        raise FormatError(f"{url}: expected the file of sha256 {sha256[:12]}…, found {size}")
    return path


def fetch_task(task: Task, data_dir: Path, base_url: str = BASE_URL) -> None:
    """Fetch all files of a task, check them, and put them into `data_dir`.

    Errors are those of `fetch_file`; the message names the files that a person can put into `data_dir` by hand.
    """
    wanted = [file.path for file in task.splits.values()]
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data_dir) as name:
        folder = Path(name)
        try:
            fetched = [
                fetch_file(base_url + path, folder / path.rsplit("/", 1)[-1], sha256)
                for task_name, path, sha256 in DOWNLOADS
                if task_name == task.name
            ]
        except (ConnectionError, FormatError) as error:
            raise type(error)(f"{error}; try again, or put {', '.join(wanted)} into {data_dir}/") from None
        if task.name == "mrpc":
            build_mrpc(folder / task.title, *fetched)
        for path in fetched:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(folder, {*wanted} & {*archive.namelist()})
            elif path.name == "AX.tsv":
                (folder / "AX").mkdir()
                path.rename(folder / "AX" / "AX.tsv")
        for split in task.splits:
            read_split(task, folder, split)
        for file_name in wanted:
            (data_dir / file_name).parent.mkdir(exist_ok=True)
            (folder / file_name).replace(data_dir / file_name)


def build_mrpc(folder: Path, train_source: Path, test_source: Path, dev_ids: Path) -> None:
    """Write MRPC's three files: a row of `train_source` is a dev row if `dev_ids` has its pair of ids.

    The labels in `test_source` are left out. The files are byte-equal to the MRPC files that are in common use.
    Source: GLUE-baselines download_glue_data.py.
    """
    folder.mkdir()
    dev_pairs = {tuple(line.split(b"\t")) for line in dev_ids.read_bytes().splitlines()}
    header, *rows = train_source.read_bytes().strip().split(b"\n")
    splits: dict[str, list[bytes]] = {"train": [header], "dev": [header]}
    for row in rows:
        splits["dev" if tuple(row.split(b"\t")[1:3]) in dev_pairs else "train"].append(row.rstrip())
    _, *rows = test_source.read_bytes().strip().split(b"\n")
    unlabelled = [b"%d\t%s" % (index, row.rstrip().split(b"\t", 1)[1]) for index, row in enumerate(rows)]
    splits["test"] = [b"index\t#1 ID\t#2 ID\t#1 String\t#2 String", *unlabelled]
    for name, lines in splits.items():
        (folder / f"{name}.tsv").write_bytes(b"\n".join(lines) + b"\n")
