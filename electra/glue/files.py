"""Files of a task -> rows of text with labels: the official TSVs, and one's own TSV, CSV or JSONL."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from electra.files import FormatError, sha256_file
from electra.glue.tasks import SplitFile, Task
from electra.scores.metrics import CLASS_METRICS, METRICS, SCORE_METRICS

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one file, in its order."""

    path: Path
    first: list[str]
    second: list[str] | None  # None for a task of single sentences
    labels: Array | None  # (N,) int64 classes or float64 scores; None for a test file
    sha256: str
    num_damaged: int  # rows left out
    num_empty: int  # texts without a character, kept

    def __len__(self) -> int:
        return len(self.first)

    @property
    def gold(self) -> Array:
        """The labels of a file that has some."""
        if self.labels is None:
            raise ValueError(f"{self.path}: expected labels, found a test file; name another split")
        return self.labels


class _Column(NamedTuple):
    """One named column of a file, and the line each value stands on."""

    values: list[str]
    lines: list[int]


def read_split(task: Task, data_dir: Path, split: str, *, allow_other_sizes: bool = False) -> Rows:
    """Read one file of a task.

    Texts lose the spaces at their ends: SST-2's train and dev rows end in one that its test rows do not have,
    and a byte-level tokenizer would see it.

    Args:
        allow_other_sizes: accept another number of rows than was released.

    Raises:
        FileNotFoundError: the file is not there.
        FormatError: bytes, columns, a label or the number of rows are not as they must be.
    """
    file = task.splits[split]
    path, remedy = data_dir / file.path, _remedy(task, split)
    has_labels = split not in task.test_splits
    wanted = (*task.text_columns, *((task.label_column,) if has_labels else ()))
    columns, num_damaged = _read_columns(path, file, wanted, remedy)
    texts = [[text.strip(" ") for text in column.values] for column in columns[: len(task.text_columns)]]
    if file.num_rows and len(texts[0]) not in file.num_rows and not allow_other_sizes:
        expected = " or ".join(f"{number:,}" for number in file.num_rows)
        raise FormatError(
            f"{path}: expected {expected} rows, found {len(texts[0]):,}; {remedy}, or --allow-other-sizes"
        )
    return Rows(
        path=path,
        first=texts[0],
        second=texts[1] if len(texts) > 1 else None,
        labels=_parse_labels(task, path, columns[-1], remedy) if has_labels else None,
        sha256=sha256_file(path),
        num_damaged=num_damaged,
        num_empty=sum(column.count("") for column in texts),
    )


def with_swapped_pairs(rows: Rows) -> Rows:
    """The labelled pairs of `rows`, then each again the other way round: for training only.

    Source: release classification_tasks.py:355-361, 430-439.
    """
    if rows.second is None:
        raise ValueError(f"{rows.path}: expected pairs to swap, found single texts; drop --pair-swap")
    labels = np.concatenate([rows.gold, rows.gold])
    return replace(rows, first=rows.first + rows.second, second=rows.second + rows.first, labels=labels)


def own_task(
    name: str,
    train_file: Path,
    dev_file: Path,
    *,
    text_column: str,
    text_pair_column: str = "",
    label_column: str,
    metric: str,
) -> Task:
    """A task of one's own .tsv, .csv or .jsonl files with named columns, for `read_split` with any folder.

    Classes are the label words of the training file in sorted order, so F1 is that of the second. With a
    correlation as `metric` it is a regression, whose unit is the range of the scores in both files.

    Raises:
        FormatError: a file is not as described.
        ValueError: the metric is unknown, or does not fit the labels.
    """
    if metric not in METRICS:
        raise ValueError(f"--metric: expected one of {', '.join(METRICS)}, found {metric!r}; choose one of them")
    files = {"train": SplitFile(str(train_file.resolve())), "dev": SplitFile(str(dev_file.resolve()))}
    columns = (text_column, text_pair_column) if text_pair_column else (text_column,)
    family = SCORE_METRICS if metric in SCORE_METRICS else CLASS_METRICS
    task = Task(name=name, title=name, text_columns=columns, label_column=label_column, metrics=tuple(family),
                main_metric=metric, splits=files, score_range=(-math.inf, math.inf))  # fmt: skip
    raw = {split: _read_columns(Path(file.path), file, (label_column,), _remedy(task, split))[0][0]
           for split, file in files.items()}  # fmt: skip
    if metric in SCORE_METRICS:
        scores = [_parse_labels(task, Path(files[split].path), raw[split], _remedy(task, split)) for split in files]
        low, high = float(np.concatenate(scores).min()), float(np.concatenate(scores).max())
        if low == high:
            raise ValueError(
                f"{train_file}: expected scores that differ, found {low:g} throughout; check {label_column}"
            )
        return replace(task, score_range=(low, high))
    words = sorted({*raw["train"].values})
    if len(words) < 2 or (metric == "f1" and len(words) != 2):
        few = "two" if metric == "f1" else "two or more"
        raise ValueError(f"{train_file}: expected {few} classes under {label_column}, found {len(words)}; "
                         "choose another column or metric")  # fmt: skip
    metrics = [name for name in CLASS_METRICS if name != "f1" or len(words) == 2]
    return replace(task, labels=tuple(words), codes=tuple(words), metrics=tuple(metrics), score_range=(0.0, 1.0))


def _remedy(task: Task, split: str) -> str:
    if task.splits[split].num_rows:
        return f"fetch it with python -m electra glue download --task {task.name}"
    return "correct the file"


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _parse_labels(task: Task, path: Path, column: _Column, remedy: str) -> Array:
    if task.is_regression:
        low, high = task.score_range
        allowed = f"a score from {low:g} to {high:g}"
        labels = np.array([_number(word) for word in column.values])
    else:
        low, high = 0, len(task.codes) - 1
        allowed = f"one of {', '.join(task.codes)}"
        classes = {code: number for number, code in enumerate(task.codes)}
        labels = np.array([classes.get(word, -1) for word in column.values])
    is_allowed = np.isfinite(labels) & (labels >= low) & (labels <= high)
    if not is_allowed.all():
        first = int(np.argmin(is_allowed))
        line, word = column.lines[first], column.values[first]
        raise FormatError(f"{path}, line {line}: expected {allowed} as label, found {word!r}; {remedy}")
    return labels


def _lines(path: Path, remedy: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, split at newlines alone: U+2028 and its like are text."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x}"
                raise FormatError(f"{path}, line {number}: expected UTF-8, found {found}; {remedy}") from None
            yield number, text.removesuffix("\n").removesuffix("\r")


def _json_fields(path: Path, number: int, line: str, wanted: tuple[str, ...], remedy: str) -> list[str]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}, line {number}: expected JSON, found {error.msg}; {remedy}") from None
    if not isinstance(values, dict) or not all(isinstance(values.get(name), str | int | float) for name in wanted):
        found = ", ".join(values) if isinstance(values, dict) else repr(values)[:40]
        raise FormatError(
            f"{path}, line {number}: expected an object with text or numbers under {', '.join(wanted)}, "
            f"found {found}; {remedy}"
        )
    return [value if isinstance(value := values[name], str) else json.dumps(value) for name in wanted]


def _csv_rows(path: Path, remedy: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for _, line in _lines(path, remedy)), strict=True)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise FormatError(f"{path}, line {reader.line_num}: expected CSV, found {error}; {remedy}") from None


def _table(
    path: Path, file: SplitFile, wanted: tuple[str, ...], remedy: str
) -> tuple[tuple[str, ...], Iterator[tuple[int, list[str]]]]:
    """Names of the columns, and (line number, fields) of each row."""
    if path.stat().st_size == 0:
        raise FormatError(f"{path}: expected rows, found an empty file; {remedy}")
    if path.suffix == ".jsonl":
        return wanted, ((n, _json_fields(path, n, line, wanted, remedy)) for n, line in _lines(path, remedy))
    if path.suffix == ".csv":
        rows = _csv_rows(path, remedy)
    elif path.suffix == ".tsv":
        rows = ((number, line.split("\t")) for number, line in _lines(path, remedy))
    else:
        raise FormatError(f"{path}: expected a .tsv, .csv or .jsonl, found {path.suffix!r}; rename the file")
    return file.columns or tuple(next(rows)[1]), rows


def _read_columns(path: Path, file: SplitFile, wanted: tuple[str, ...], remedy: str) -> tuple[list[_Column], int]:
    """The wanted columns of a file, and how many damaged rows were left out."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of rows, found none; {remedy}")
    names, rows = _table(path, file, wanted, remedy)
    if missing := [name for name in wanted if name not in names]:
        found = ", ".join(map(repr, names))
        raise FormatError(f"{path}: expected a column {missing[0]!r}, found {found}; {remedy}")
    places = [names.index(name) for name in wanted]
    kept: list[list[str]] = []
    numbers: list[int] = []
    num_damaged = 0
    for number, fields in rows:
        if len(fields) == len(names):
            kept.append([fields[place] for place in places])
            numbers.append(number)
        elif file.may_be_damaged:
            num_damaged += 1
        else:
            raise FormatError(f"{path}, line {number}: expected {len(names)} columns, found {len(fields)}; {remedy}")
    if not kept:
        raise FormatError(f"{path}: expected rows below the header, found none; {remedy}")
    return [_Column([row[i] for row in kept], numbers) for i in range(len(wanted))], num_damaged
