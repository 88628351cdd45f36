"""Files of a task -> rows of text with labels: the official TSVs, and one's own TSV, CSV or JSONL."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import re
import unicodedata
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


class _Table(NamedTuple):
    """The wanted columns of a file."""

    columns: list[list[str]]
    lines: list[int]  # on which each row starts
    num_damaged: int


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
    table = _read_table(path, file, wanted, remedy)
    texts = [[text.strip(" ") for text in column] for column in table.columns[: len(task.text_columns)]]
    if file.num_rows and len(texts[0]) not in file.num_rows and not allow_other_sizes:
        expected = " or ".join(f"{number:,}" for number in file.num_rows)
        raise FormatError(
            f"{path}: expected {expected} rows, found {len(texts[0]):,}; {remedy}, or --allow-other-sizes"
        )
    return Rows(
        path=path,
        first=texts[0],
        second=texts[1] if len(texts) > 1 else None,
        labels=_parse_labels(task, path, table, remedy) if has_labels else None,
        sha256=sha256_file(path),
        num_damaged=table.num_damaged,
        num_empty=sum(column.count("") for column in texts),
    )


def describe_rows(task: Task, rows: Rows) -> str:
    """What was read from a file, so that a person sees a wrong one: rows, and classes with their counts."""
    facts = [f"{rows.path}: {len(rows):,} rows"]
    if rows.num_damaged:
        facts.append(f"{rows.num_damaged:,} damaged rows left out")
    if rows.num_empty:
        facts.append(f"{rows.num_empty:,} empty texts")
    if num_long := sum("\n" in text for text in rows.first + (rows.second or [])):
        facts.append(f"{num_long:,} texts of several lines")
    if rows.labels is not None and task.is_regression:
        facts.append(f"{task.label_column} from {rows.labels.min():g} to {rows.labels.max():g}")
    elif rows.labels is not None:
        counts = np.bincount(rows.labels, minlength=len(task.labels))
        shown = [f"{word} {count:,}" for word, count in zip(task.labels, counts, strict=True)]
        facts += [*shown[:20], f"and {len(shown) - 20:,} more classes"] if len(shown) > 20 else shown
    return ", ".join(facts)


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

    Classes are the labels of the training file in sorted order, so F1 is that of the second. With a
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
    task = Task(
        name=name,
        title=name,
        text_columns=columns,
        label_column=label_column,
        metrics=tuple(family),
        main_metric=metric,
        splits=files,
        score_range=(-math.inf, math.inf),
    )
    if metric in SCORE_METRICS:
        scores = np.concatenate([read_split(task, Path(), split).gold for split in files])
        low, high = float(scores.min()), float(scores.max())
        if low == high:
            raise ValueError(
                f"{train_file}: expected scores that differ, found {low:g} throughout; check {label_column}"
            )
        return replace(task, score_range=(low, high))
    remedy = _remedy(task, "train")
    table = _read_table(Path(files["train"].path), files["train"], (label_column,), remedy)
    for line, word in zip(table.lines, table.columns[0], strict=True):
        if not _class_name(word):
            raise _wrong(train_file, line, "a label, one line of printable text", repr(word), remedy)
    words = tuple(sorted({*map(_class_name, table.columns[0])}))
    if len(words) < 2 or (metric == "f1" and len(words) != 2):
        few = "two" if metric == "f1" else "two or more"
        raise ValueError(
            f"{train_file}: expected {few} classes under {label_column}, found {len(words)}; "
            "choose another column or metric"
        )
    metrics = tuple(name for name in CLASS_METRICS if name != "f1" or len(words) == 2)
    return replace(task, labels=words, codes=words, metrics=metrics, score_range=(0.0, 1.0))


def _remedy(task: Task, split: str) -> str:
    if task.splits[split].num_rows:
        return f"fetch it with python -m electra glue download --task {task.name}"
    return "correct the file"


def _wrong(path: Path, line: int, expected: str, found: object, remedy: str) -> FormatError:
    return FormatError(f"{path}{f', line {line}' if line else ''}: expected {expected}, found {found}; {remedy}")


@functools.lru_cache(maxsize=1 << 12)
def _class_name(label: str) -> str:
    """The class that a person means by a label; "" if it is none.

    Spaces do not make another class, nor does the 1.0 that a table with gaps has for 1. No class is `nan`, which is
    such a gap, and no label that holds a line break or another control character: most come from a stray quote sign.
    """
    name = unicodedata.normalize("NFC", label.strip(" \t\r\n\ufeff\u200b"))
    if name.lower() == "nan" or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return ""
    return re.sub(r"^([+-]?[0-9]+)\.0+$", r"\1", " ".join(name.split()))


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _parse_labels(task: Task, path: Path, table: _Table, remedy: str) -> Array:
    words = table.columns[-1]
    if task.is_regression:
        low, high = task.score_range
        labels = np.array([_number(word) for word in words])
    else:
        low, high = 0, len(task.codes) - 1
        classes = {code: number for number, code in enumerate(task.codes)}
        labels = np.array([classes.get(_class_name(word), -1) for word in words])
    is_allowed = np.isfinite(labels) & (labels >= low) & (labels <= high)
    if not is_allowed.all():
        row = int(np.argmin(is_allowed))
        raise _wrong(path, table.lines[row], f"{task.allowed_labels} as label", repr(words[row]), remedy)
    return labels


def _read_table(path: Path, file: SplitFile, wanted: tuple[str, ...], remedy: str) -> _Table:
    """The wanted columns of a file, without its header and blank lines."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of rows, found none; {remedy}")
    rows = _rows(path, file, wanted, remedy)
    names = file.columns or tuple(name.strip() for name in next(rows, (0, []))[1])
    if not names:
        raise _wrong(path, 0, "rows", "an empty file", remedy)
    for name in wanted:
        if names.count(name) != 1:
            raise _wrong(path, 0, f"a column {name!r}{' once' * (name in names)}", ", ".join(map(repr, names)), remedy)
    places = [names.index(name) for name in wanted]
    kept: list[tuple[int, list[str]]] = []
    num_damaged = 0
    for line, cells in rows:
        if len(cells) == len(names) and tuple(cells) != names:
            kept.append((line, [cells[place] for place in places]))
        elif file.may_be_damaged:
            num_damaged += 1
        elif len(cells) == len(names):
            raise _wrong(path, line, "a row", "the header again", remedy)
        else:
            raise _wrong(path, line, f"{len(names)} columns", len(cells), remedy)
    if not kept:
        raise _wrong(path, 0, "rows below the header", "none", remedy)
    return _Table([[row[i] for _, row in kept] for i in range(len(wanted))], [line for line, _ in kept], num_damaged)


def _rows(path: Path, file: SplitFile, wanted: tuple[str, ...], remedy: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row and the line it starts on, header first; that of a .jsonl holds the wanted names."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len((content[: error.start] + b"x").splitlines())
        raise _wrong(path, line, "UTF-8", f"byte 0x{content[error.start]:02x}", remedy) from None
    kind = path.suffix.lower()
    if file.num_rows:  # a released file: only tabs and newlines part its cells and rows, and quote signs are text
        lines = text.rstrip("\r\n").split("\n") if text else []
        return ((number, line.removesuffix("\r").split("\t")) for number, line in enumerate(lines, 1))
    if kind == ".jsonl":
        return _json_rows(path, text, wanted, remedy)
    if kind in (".csv", ".tsv"):
        return _csv_rows(path, text, "," if kind == ".csv" else "\t", remedy)
    raise _wrong(path, 0, "a .tsv, .csv or .jsonl", repr(path.suffix), "rename the file")


def _csv_rows(path: Path, text: str, delimiter: str, remedy: str) -> Iterator[tuple[int, list[str]]]:
    """Rows as the csv module reads them, without blank lines; a cell may be as long as its file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    limit = csv.field_size_limit(len(text))
    try:
        for cells in reader:
            is_blank = len(cells) < 2 and not "".join(cells).strip()
            if cells and not (is_blank and (not rows or len(rows[0][1]) > 1)):  # in one column a blank is a text
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        rule = "a cell that starts with a quote sign ends with one, and those between are doubled"
        raise _wrong(path, line, f"CSV ({rule})", error, remedy) from None
    finally:
        csv.field_size_limit(limit)
    return iter(rows)


def _json_rows(path: Path, text: str, wanted: tuple[str, ...], remedy: str) -> Iterator[tuple[int, list[str]]]:
    """The wanted names, then their values in each line that is not blank."""
    yield 1, list(wanted) if text else []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        try:
            values = json.loads(line, parse_constant=lambda word: None)  # NaN is a gap
        except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
            raise _wrong(path, number, "JSON", str(getattr(error, "msg", error)).split(";")[0], remedy) from None
        if not isinstance(values, dict):
            raise _wrong(path, number, "an object", repr(values)[:40], remedy)
        if missing := [name for name in wanted if not isinstance(values.get(name), str | int | float)]:
            name = missing[0]
            fields = f"the fields {', '.join(values)}" if values else "no field"
            found = json.dumps(values[name])[:40] if name in values else fields
            raise _wrong(path, number, f"text or a number under {name!r}", found, remedy)
        cells = [value if isinstance(value := values[name], str) else json.dumps(value) for name in wanted]
        if half := re.search("[\ud800-\udfff]", "".join(cells)):
            raise _wrong(path, number, "whole characters", f"the half {half[0]!r}", remedy)
        yield number, cells
