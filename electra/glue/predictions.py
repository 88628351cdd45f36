"""Predictions as files: one TSV for each run and split, and the zip that the GLUE server takes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

from electra.files import FormatError, atomic_write
from electra.glue.tasks import TASKS, Task
from electra.scores.metrics import Array

SUBMISSION_FILES: Mapping[str, tuple[str, str]] = {
    **{f"{task.title}.tsv": (task.name, "test") for task in TASKS.values() if "test" in task.splits},
    "MNLI-m.tsv": ("mnli", "test_matched"),
    "MNLI-mm.tsv": ("mnli", "test_mismatched"),
    "AX.tsv": ("mnli", "diagnostic"),
}
"""The eleven files of a submission, {name in the zip: (task of the model, split that the model predicts)}."""


def write_predictions(path: Path, task: Task, values: Array, labels: Array, outputs: Array) -> None:
    """Write a TSV of index, prediction, label (if there are labels) and outputs, in the order of the task's file.

    `values` (N,) are classes, or scores in the unit of the files; `labels` are (N,), or (0,) for a test file; the
    model's `outputs` are (N, num_outputs).
    """
    columns = [values, labels] if len(labels) else [values]
    header = ["index", "prediction", "label"][: len(columns) + 1] + list(task.labels or ("output",))
    lines = ["\t".join(header)]
    for index, row in enumerate(zip(*columns, strict=True)):
        words = [repr(float(value)) if task.is_regression else task.labels[value] for value in row]
        lines.append("\t".join([str(index), *words, *(f"{output:.9g}" for output in outputs[index])]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def write_submission(out: Path, sources: Mapping[str, Path]) -> None:
    """Write a submission: a zip of eleven files; the answer to every WNLI row is "not_entailment", as usual.

    `sources` maps each name in the zip, except WNLI.tsv, to a file of predictions. FormatError if predictions are
    missing or damaged, or do not cover every row of the official test file.
    """
    files = {}
    for name, (task_name, split) in SUBMISSION_FILES.items():
        task = TASKS[task_name]
        (num_rows,) = task.splits[split].num_rows
        if task_name == "wnli":
            answers = [_answer(task, "not_entailment")] * num_rows
        elif name in sources:
            answers = _read_answers(sources[name], task)
        else:
            expected = f"expected predictions of {split} by a {task.title} model"
            raise FormatError(f"{out}: {expected}, found none; run train_glue.py --task {task_name} --predict-test")
        if len(answers) != num_rows:
            remedy = f"predict every row of {task.splits[split].path}"
            raise FormatError(f"{sources[name]}: expected {num_rows:,} rows, found {len(answers):,}; {remedy}")
        files[name] = ["index\tprediction", *(f"{index}\t{answer}" for index, answer in enumerate(answers))]
    with atomic_write(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in files.items():
            member = zipfile.ZipInfo(name)  # has a constant date, so that equal predictions make equal bytes
            archive.writestr(member, "\n".join(lines) + "\n", zipfile.ZIP_DEFLATED)


def _read_answers(path: Path, task: Task) -> list[str]:
    """Read a file of `write_predictions`; return its predictions in the form that the server expects."""
    try:
        rows = [line.split("\t") for line in path.read_text("utf-8").split("\n")[1:-1]]
        if wrong := [row[0] for number, row in enumerate(rows) if row[0] != str(number)]:
            raise ValueError(f"index {wrong[0]} out of order")
        return [_answer(task, row[1]) for row in rows]
    except (IndexError, KeyError, ValueError) as error:
        remedy = "remove the run's line from results.jsonl and run train_glue.py again"
        raise FormatError(f"{path}: expected predictions of {task.title}, found {error}; {remedy}") from None


def _answer(task: Task, prediction: str) -> str:
    """Return a prediction as the server wants it: a class as in the task's files, a score clipped to the task's range.

    Source: jiant evaluate.py, the server's own tool.
    """
    if not task.is_regression:
        return dict(zip(task.labels, task.codes, strict=True))[prediction]
    low, high = task.score_range
    if not math.isfinite(score := float(prediction)):
        raise ValueError(prediction)
    return f"{min(high, max(low, score)):.3f}"
