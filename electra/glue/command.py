"""The command `python -m electra glue`: download, verify, submission."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from electra import cli
from electra.files import read_records
from electra.glue.download import fetch_task
from electra.glue.predictions import SUBMISSION_FILES, check_submission, write_submission
from electra.glue.release import BASE_URL, verify_file
from electra.glue.results import FILE_NAME
from electra.glue.tasks import TASKS, Task, find_task


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m electra glue download | verify | submission`."""
    parser = cli.Parser("python -m electra glue", description="The GLUE benchmark's files.")
    commands = parser.add_subparsers(dest="command", required=True)
    download = commands.add_parser("download", help="fetch the official files")
    download.add_argument("--task", default="all", help="a task, or several with commas (default all)")
    download.add_argument("--data-dir", type=Path, default=Path("glue_data"), help="folder (default glue_data)")
    download.add_argument("--base-url", default=BASE_URL, help=f"a mirror of {BASE_URL}")
    verify = commands.add_parser("verify", help="check the files of a folder")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--task", default="all", help="tasks that must be there (default: those that are)")
    submission = commands.add_parser("submission", help="make the zip for the GLUE server, or check one")
    submission.add_argument("--results", type=Path, default=Path("runs/glue"), help="folder of train_glue.py")
    submission.add_argument("--seed", type=int, default=0, help="which runs' predictions (default 0)")
    submission.add_argument("--wnli", choices=("majority", "model"), default="majority", help="default majority")
    submission.add_argument("--out", type=Path, default=Path("submission.zip"), help="default submission.zip")
    submission.add_argument("--check", type=Path, help="only check this zip or folder")
    asked = parser.parse_args(argv)
    return {"download": _download, "verify": _verify, "submission": _submission}[asked.command](asked)


def _tasks(names: str) -> list[Task]:
    return list(TASKS.values()) if names == "all" else [find_task(name) for name in names.split(",")]


def _download(asked: argparse.Namespace) -> int:
    num_failed = 0
    for task in _tasks(asked.task):
        try:
            fetch_task(task, asked.data_dir, asked.base_url)
            print("\n".join(verify_file(task, asked.data_dir, split) for split in task.splits))
        except (OSError, ValueError) as error:  # the other tasks can still be fetched
            print(f"error: {error}", file=sys.stderr)
            num_failed += 1
    return cli.EXIT_USER_ERROR if num_failed else 0


def _verify(asked: argparse.Namespace) -> int:
    num_wrong = 0
    for task in _tasks(asked.task):
        for split, file in task.splits.items():
            if asked.task == "all" and not (asked.folder / file.path).is_file():
                print(f"{file.path}: not there")
                continue
            try:
                print(verify_file(task, asked.folder, split))
            except (OSError, ValueError) as error:  # the other files are still worth checking
                print(f"error: {error}", file=sys.stderr)
                num_wrong += 1
    return cli.EXIT_USER_ERROR if num_wrong else 0


def _submission(asked: argparse.Namespace) -> int:
    if asked.check:
        check_submission(asked.check)
        print(f"{asked.check}: a submission as the server wants it")
        return 0
    write_submission(asked.out, _sources(asked.results, asked.seed), wnli_majority=asked.wnli == "majority")
    print(f"{asked.out}: {len(SUBMISSION_FILES)} files, checked; WNLI from {asked.wnli}")
    return 0


def _sources(results: Path, seed: int) -> dict[str, Path]:
    """The prediction file for each file of a submission that some run of this seed has predictions for."""
    runs: dict[tuple[str, str], dict[str, str]] = {}  # a run that was repeated, say to keep its model, is one run
    path = results / FILE_NAME
    for record in read_records(path) if path.exists() else []:
        if record["task"] in TASKS and record["seed"] == seed:
            runs.setdefault((record["task"], record["run_id"]), {}).update(record["predictions"])
    sources = {}
    for name, (task, split) in SUBMISSION_FILES.items():
        found = [files for (of, _), files in runs.items() if of == task and split in files]
        if len(found) > 1:
            raise ValueError(f"{results}: expected one {task} run of seed {seed}, found {len(found)}; "
                             "give each model a results folder of its own (train_glue.py --out)")  # fmt: skip
        if found:
            sources[name] = results / found[0][split]
    return sources
