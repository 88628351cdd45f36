"""Read the files of a task into rows of text with labels: official TSVs, and a person's own TSV, CSV or JSONL."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from electra.cli import printable
from electra.files import FormatError, sha256_file, unique_keys
from electra.glue.tasks import SplitFile, Task
from electra.scores.metrics import Array


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The N rows of one file, in the order of the file."""

    path: Path
    first: list[str]
    second: list[str] | None  # None for a task of single sentences
    labels: Array  # (N,) int64 classes or float64 scores; (0,) for a test file
    sha256: str  # of the file
    num_damaged: int  # damaged rows, which were left out

    def __len__(self) -> int:
        return len(self.first)


class _Wrong(Exception):
    """Error: a file is not as expected. The message names the line; `line` 0 means the whole file."""

    def __init__(self, line: int, expected: str, found: object) -> None:
        super().__init__(f"{f', line {line}' if line else ''}: expected {expected}, found {found}")


def read_split(task: Task, data_dir: Path, split: str, *, allow_other_sizes: bool = False) -> Rows:
    """Read one file of a task; raises FormatError if columns, labels or number of rows are not those of the task.

    Spaces at both ends of a text are removed: SST-2's train and dev texts end in a space, its test texts do not, and
    a byte-level tokenizer would make a token of the space. `allow_other_sizes` accepts any number of rows.
    """
    file, has_labels = task.splits[split], split not in task.test_splits
    path = data_dir / file.path
    command = f"python -m electra glue download --task {task.name}"
    remedy = f"fetch it with {command}" if file.num_rows else "correct the file"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of rows, found none; {remedy}")
    wanted = (*task.text_columns, task.label_column) if has_labels else task.text_columns
    try:
        lines, columns, num_damaged = _read_columns(path, file, wanted)
        labels = _parse_labels(task, columns[-1], lines) if has_labels else np.zeros(0)
    except _Wrong as error:
        raise FormatError(f"{path}{error}; {remedy}") from None
    if file.num_rows and len(lines) not in file.num_rows and not allow_other_sizes:
        expected = " or ".join(f"{number:,}" for number in file.num_rows)
        raise FormatError(f"{path}: expected {expected} rows, found {len(lines):,}; {remedy}, or --allow-other-sizes")
    first, *more = [[text.strip(" ") for text in column] for column in columns[: len(task.text_columns)]]
    second, sha256 = more[0] if more else None, sha256_file(path)
    return Rows(path=path, first=first, second=second, labels=labels, sha256=sha256, num_damaged=num_damaged)


def describe_rows(task: Task, rows: Rows) -> str:
    """Return a line to check a file by: numbers of rows, empty and multi-line texts; score range or class counts."""
    texts = rows.first + (rows.second or [])
    facts = [f"{rows.path}: {len(rows):,} rows"]
    facts += [f"{rows.num_damaged:,} damaged rows left out"] if rows.num_damaged else []
    num_empty, num_long = texts.count(""), sum("\n" in text for text in texts)
    facts += [f"{num_empty:,} empty texts"] if num_empty else []
    facts += [f"{num_long:,} texts of several lines"] if num_long else []
    if len(rows.labels) and task.is_regression:
        facts.append(f"{task.label_column} from {rows.labels.min():g} to {rows.labels.max():g}")
    elif len(rows.labels):
        counts = np.bincount(rows.labels, minlength=len(task.labels))
        facts += [f"{word} {count:,}" for word, count in zip(task.labels[:20], counts, strict=False)]
        facts += [f"and {len(counts) - 20:,} more classes"] if len(counts) > 20 else []
    return ", ".join(facts)


def with_swapped_pairs(rows: Rows) -> Rows:
    """Return the pairs of `rows`, then each pair again with its texts exchanged and the same label: for training only.

    Source: release classification_tasks.py:355-361, 430-439.
    """
    second, labels = rows.second or [], np.concatenate([rows.labels, rows.labels])
    return replace(rows, first=rows.first + second, second=second + rows.first, labels=labels)


def class_name(label: str) -> str:
    """Return a label without spaces at its ends, and with 1.0 written as 1; "" if it is missing or not printable.

    In a column with empty cells, some programs write 1 as 1.0 and an empty cell as `nan`. A label with a line break
    comes from a stray quote sign.
    """
    name = re.sub(r"^([+-]?[0-9]+)\.0+$", r"\1", label.strip())
    return name if printable(name) == name and name.lower() != "nan" else ""


_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)


def _parse_labels(task: Task, words: Sequence[str], lines: Sequence[int]) -> Array:
    if task.is_regression:
        low, high = task.score_range
        labels = np.array([float(word) if _NUMBER.fullmatch(word) else math.nan for word in words])
    else:
        low, high = 0, len(task.codes) - 1
        classes = {word: class_name(word) for word in {*words}}
        numbers = {code: number for number, code in enumerate(task.codes)}
        labels = np.array([numbers.get(classes[word], -1) for word in words])
    is_allowed = np.isfinite(labels) & (labels >= low) & (labels <= high)
    if not is_allowed.all():
        row = int(np.argmin(is_allowed))
        allowed = f"a score from {low:g} to {high:g}" if task.is_regression else f"one of {', '.join(task.codes)}"
        raise _Wrong(lines[row], f"{allowed} as label", repr(words[row]))
    return labels


def _read_columns(path: Path, file: SplitFile, wanted: Sequence[str]) -> tuple[list[int], list[list[str]], int]:
    """Return the line number of each row, the wanted columns, and the number of damaged rows that were left out."""
    rows = _rows(path, file, wanted)
    names = file.columns or tuple(name.strip() for name in next((row for row in rows if row[1]), (0, []))[1])
    for name in wanted:
        if names.count(name) != 1:
            found = ", ".join(map(repr, names)) or "an empty file"
            raise _Wrong(0, f"a column {name!r}{' once' * (name in names)}", found)
    places = [names.index(name) for name in wanted]
    lines, kept, num_damaged = [], [], 0
    for line, cells in rows:
        if len(cells) == len(names):
            lines.append(line)
            kept.append([cells[place] for place in places])
        elif file.may_be_damaged:
            num_damaged += 1
        elif cells or len(names) == 1:  # in a file of one column a blank line may be an empty cell
            raise _Wrong(line, f"{len(names)} columns", len(cells))
    if not kept:
        raise _Wrong(0, "rows below the header", "none")
    return lines, [*map(list, zip(*kept, strict=True))], num_damaged


def _rows(path: Path, file: SplitFile, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row, the header first; a blank line has no cells."""
    kind, content = path.suffix.lower(), path.read_bytes()
    if not file.num_rows and kind not in (".csv", ".tsv", ".jsonl"):
        raise _Wrong(0, "a name that ends in .tsv, .csv or .jsonl", repr(path.name))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Wrong(line, "UTF-8", f"byte 0x{content[error.start]:02x}") from None
    if file.num_rows:  # an official file: only tabs and newlines separate its cells and rows; a quote sign is text
        for line, row in enumerate(text.rstrip("\r\n").split("\n"), 1):
            yield line, row.removesuffix("\r").split("\t")
    elif kind == ".jsonl":
        yield from _json_rows(text, wanted)
    else:
        yield from _csv_rows(text, "," if kind == ".csv" else "\t")


def _csv_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)  # a cell may be a long document
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        rule = "a quote sign at the start of a cell needs one at the end; quote signs between them are doubled"
        raise _Wrong(line, f"CSV ({rule})", error) from None


# numbers stay as they are written, NaN is a missing value
_JSON = json.JSONDecoder(object_pairs_hook=unique_keys, parse_int=str, parse_float=str, parse_constant=lambda _: None)


def _json_rows(text: str, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the wanted names as the header, then the values under these names in each line that is not blank."""
    yield 1, [*wanted]
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            record = _JSON.decode(content)
            values = [record.get(name) if isinstance(record, dict) else None for name in wanted]
            json.dumps(values, ensure_ascii=False).encode()  # a lone surrogate is no text
        except (ValueError, RecursionError) as error:
            raise _Wrong(line, "JSON", error) from None
        if not all(isinstance(value, str | bool) for value in values):
            fields = " and ".join(map(repr, wanted))
            raise _Wrong(line, f"an object with text, a number, true or false under {fields}", content.strip()[:80])
        yield line, [value if isinstance(value, str) else json.dumps(value) for value in values]
