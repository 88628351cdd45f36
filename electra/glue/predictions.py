"""Predictions as files: one TSV a run and split, and the zip that the GLUE server takes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from electra.files import FormatError, atomic_write
from electra.glue.tasks import TASKS, Task

Array = npt.NDArray[Any]

SUBMISSION_FILES: Mapping[str, tuple[str, str]] = {
    "CoLA.tsv": ("cola", "test"),
    "SST-2.tsv": ("sst2", "test"),
    "MRPC.tsv": ("mrpc", "test"),
    "STS-B.tsv": ("stsb", "test"),
    "MNLI-m.tsv": ("mnli", "test_matched"),
    "MNLI-mm.tsv": ("mnli", "test_mismatched"),
    "QNLI.tsv": ("qnli", "test"),
    "QQP.tsv": ("qqp", "test"),
    "RTE.tsv": ("rte", "test"),
    "WNLI.tsv": ("wnli", "test"),
    "AX.tsv": ("mnli", "diagnostic"),
}
"""The eleven files of a submission: which task's model says what of which split."""

_SUBMISSION_HEADER = ["index", "prediction"]
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same predictions make the same bytes


class Predictions(NamedTuple):
    """What a fine-tuned model said of one file, in the file's order: (N,) classes, or scores in its unit."""

    values: Array
    labels: Array | None  # (N,) gold; None for a test file


def write_predictions(path: Path, task: Task, predictions: Predictions, outputs: Array) -> None:
    """Write a TSV of index, prediction, label where there is one, and the (N, num_outputs) outputs."""
    columns = [predictions.values] if predictions.labels is None else [predictions.values, predictions.labels]
    header = ["index", "prediction", "label"][: len(columns) + 1] + list(task.labels or ("output",))
    lines = ["\t".join(header)]
    for index, row in enumerate(zip(*columns, strict=True)):
        words = [repr(float(value)) if task.is_regression else task.labels[value] for value in row]
        lines.append("\t".join([str(index), *words, *(f"{output:.9g}" for output in outputs[index])]))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_lines(path, lines)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_predictions(path: Path, labels: Sequence[str]) -> Predictions:
    """Read what `write_predictions` wrote.

    Args:
        labels: the task's classes as words; empty for scores.

    Raises:
        FileNotFoundError: it is not there.
        FormatError: it is of another task, or was changed.
    """
    remedy = "remove the run's line from results.jsonl and run train_glue.py again"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected predictions, found none; {remedy}")
    header, *rows = [line.split("\t") for line in _read_lines(str(path), path.read_bytes(), remedy)]
    classes = {word: number for number, word in enumerate(labels)}
    places = [header.index(name) for name in ("prediction", "label") if name in header]
    parsed = []
    for line, row in enumerate(rows, 2):
        try:
            parsed.append([classes[row[place]] if labels else float(row[place]) for place in places])
        except (KeyError, ValueError, IndexError) as error:
            raise FormatError(
                f"{path}, line {line}: expected {' or '.join(labels) or 'a score'}, found {error}; {remedy}"
            ) from None
    if not parsed or not places:
        raise FormatError(f"{path}: expected predictions, found no rows of them; {remedy}")
    values, *gold = np.array(parsed).T
    return Predictions(values, gold[0] if gold else None)


def _read_lines(where: str, content: bytes, remedy: str) -> list[str]:
    try:
        return content.decode("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        line, found = content.count(b"\n", 0, error.start) + 1, f"byte 0x{content[error.start]:02x}"
        raise FormatError(f"{where}, line {line}: expected UTF-8, found {found}; {remedy}") from None


def submission_lines(task: Task, values: Array) -> list[str]:
    """The lines of one file of a submission: classes as the task's files write them, scores clipped to range.

    Source: jiant evaluate.py, the server's own tool.
    """
    if task.is_regression:
        words = [f"{score:.3f}" for score in np.clip(values, *task.score_range)]
    else:
        words = [task.codes[value] for value in values]
    return ["\t".join(_SUBMISSION_HEADER), *(f"{index}\t{word}" for index, word in enumerate(words))]


def write_submission(out: Path, sources: Mapping[str, Path], *, wnli_majority: bool) -> None:
    """Check and zip the eleven files.

    Args:
        out: the zip.
        sources: prediction files by name of the submission's file.
        wnli_majority: answer "not_entailment" to every WNLI row, as most entries do; needs no model.

    Raises:
        FormatError: a file is missing, or does not hold as many rows as the official test file.
    """
    files = {}
    for name, (task_name, split) in SUBMISSION_FILES.items():
        task = TASKS[task_name]
        if task_name == "wnli" and wnli_majority:
            values = np.full(task.splits[split].num_rows[0], task.labels.index("not_entailment"))
        elif name in sources:
            values = read_predictions(sources[name], task.labels).values
        else:
            raise FormatError(f"{out}: expected predictions of {split} by a {task.title} model, found none; "
                              f"run train_glue.py --task {task_name} --predict-test")  # fmt: skip
        files[name] = submission_lines(task, values)
        check_submission_lines(f"{sources.get(name, out)}", name, files[name])
    with atomic_write(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), "\n".join(lines) + "\n", zipfile.ZIP_DEFLATED)


def check_submission(path: Path) -> None:
    """Check a submission that somebody made: a zip, or a folder of the files.

    Raises:
        FormatError: names the file, the line, what was expected and what was found.
    """
    remedy = "make one with python -m electra glue submission"
    if path.is_dir():
        _check_names(path, [file.name for file in path.glob("*.tsv")])
        contents = {name: (path / name).read_bytes() for name in SUBMISSION_FILES}
    elif path.is_file() and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                _check_names(path, archive.namelist())
                contents = {name: archive.read(name) for name in SUBMISSION_FILES}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:  # damaged, or encrypted
            raise FormatError(f"{path}: expected a readable zip, found {error}; {remedy}") from None
    else:
        raise FormatError(f"{path}: expected a zip or a folder of the files, found neither; {remedy}")
    for name, content in contents.items():
        where = f"{path}/{name}"
        check_submission_lines(where, name, _read_lines(where, content, "save it as UTF-8"))


def _check_names(path: Path, names: Sequence[str]) -> None:
    wrong = {
        "missing": [name for name in SUBMISSION_FILES if name not in names],
        "unknown": sorted({*names} - {*SUBMISSION_FILES}),
        "twice": sorted({name for name in names if names.count(name) > 1}),
    }
    found = [f"{kind} {', '.join(map(repr, some[:3]))}{' …' * (len(some) > 3)}" for kind, some in wrong.items() if some]
    if found:
        raise FormatError(
            f"{path}: expected the eleven files of a submission, found {len(names)}: {'; '.join(found)}; "
            "keep exactly those eleven, under their names and in no folder"
        )


def check_submission_lines(where: str, name: str, lines: Sequence[str]) -> None:
    """Check header, number of rows, order and words of one file of a submission."""
    task_name, split = SUBMISSION_FILES[name]
    task = TASKS[task_name]
    (num_rows,) = task.splits[split].num_rows
    if lines[0].split("\t") != _SUBMISSION_HEADER:
        remedy = "end lines with a line feed alone" if lines[0].endswith("\r") else "write that line, parted by a tab"
        raise FormatError(f"{where}: expected the header index, prediction, found {lines[0]!r}; {remedy}")
    if len(lines) - 1 != num_rows:
        raise FormatError(f"{where}: expected {num_rows:,} rows, found {len(lines) - 1:,}; "
                          f"predict every row of {task.splits[split].path}")  # fmt: skip
    for index, line in enumerate(lines[1:]):
        number, _, word = line.partition("\t")
        if number != str(index):
            raise FormatError(f"{where}, line {index + 2}: expected index {index}, found {number!r}; keep the order")
        if not (_is_score(word, task) if task.is_regression else word in task.codes):
            raise FormatError(f"{where}, line {index + 2}: expected {task.allowed_labels}, found {word!r}; correct it")


def _is_score(word: str, task: Task) -> bool:
    low, high = task.score_range
    try:
        return low <= float(word) <= high
    except ValueError:
        return False
