"""The command `python -m electra glue`: download, submission."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from electra import cli
from electra.glue.download import BASE_URL, fetch_task
from electra.glue.files import describe_rows, read_split
from electra.glue.predictions import SUBMISSION_FILES, write_submission
from electra.glue.results import read_results
from electra.glue.tasks import TASKS, find_task


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m electra glue download | submission`."""
    parser = cli.Parser("python -m electra glue", description="The GLUE benchmark's files.")
    commands = parser.add_subparsers(dest="command", required=True)
    download = commands.add_parser("download", help="fetch the official files")
    download.add_argument("--task", default="all", help="a task, or several with commas (default all)")
    download.add_argument("--data-dir", type=Path, default=Path("glue_data"), help="folder (default glue_data)")
    download.add_argument("--base-url", default=BASE_URL, help=f"a mirror of {BASE_URL}")
    submission = commands.add_parser("submission", help="make the zip for the GLUE server")
    submission.add_argument("--results", type=Path, default=Path("runs/glue"), help="folder of train_glue.py")
    submission.add_argument("--seed", type=int, default=0, help="which runs' predictions (default 0)")
    submission.add_argument("--out", type=Path, default=Path("submission.zip"), help="default submission.zip")
    asked = parser.parse_args(argv)
    return _submission(asked) if asked.command == "submission" else _download(asked)


def _download(asked: argparse.Namespace) -> int:
    """Fetch tasks and print a line for each file; a task with an error does not stop the others."""
    num_failed = 0
    for task in TASKS.values() if asked.task == "all" else map(find_task, asked.task.split(",")):
        try:
            fetch_task(task, asked.data_dir, asked.base_url)
            for split in task.splits:
                print(describe_rows(task, read_split(task, asked.data_dir, split)))
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            num_failed += 1
    return cli.EXIT_USER_ERROR if num_failed else 0


def _submission(asked: argparse.Namespace) -> int:
    sources: dict[str, Path] = {}
    models: set[tuple[str, bool]] = set()
    for record in read_results(asked.results):
        for name, (task, split) in SUBMISSION_FILES.items():
            if (record["task"], record["seed"]) == (task, asked.seed) and split in record["predictions"]:
                models.add((record["checkpoint_sha256"], record["from_scratch"]))
                if name in sources or len(models) > 1:
                    expected = f"{asked.results}: expected one {task} run of seed {asked.seed} by one model, found more"
                    raise ValueError(f"{expected}; give each model its own results folder (train_glue.py --out)")
                sources[name] = asked.results / record["predictions"][split]
    write_submission(asked.out, sources)
    print(f"{asked.out}: {len(SUBMISSION_FILES)} files, checked; WNLI is not_entailment for every row")
    return 0
