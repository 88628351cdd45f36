"""Numbers that others published, each with its metric, and averages computed again from them.

`literature.csv` holds every cell of Mercier's tables 1 to 6; `official_curve.csv` holds the release's training curve.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from electra.model.flops import hardware_pfs_days
from electra.scores.metrics import AVERAGES, WNLI_MAJORITY

FOLDER = Path(__file__).parent
COLUMNS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
"""The tasks of tables 2 and 4, in the order of their columns."""
SINGLE_METRICS = {term[0].split(".")[0]: term[0].split(".")[1] for term in AVERAGES["AVG"].terms}
"""{task: metric of its column in tables 2 and 4}; these are the metrics of AVG."""
OFFICIAL, MERCIER = "ELECTRA-Small OWT, original", "Mercier, 100 % trained"


class Cell(NamedTuple):
    """One printed number or word."""

    value: str
    sd: str  # sample standard deviation as printed, or ""
    metric: str  # what the number measures

    @property
    def number(self) -> float:
        """The value as a number; scores are in points."""
        return float(self.value)


@functools.cache
def table(name: str) -> Mapping[str, Mapping[str, Cell]]:
    """Return {row: {column: cell}} of table "1" to "6", or of the text of section "3.5"; printed cells only."""
    rows: dict[str, dict[str, Cell]] = {}
    with open(FOLDER / "literature.csv", newline="") as file:
        for line in csv.DictReader(file):
            if line["table"] == name:
                rows.setdefault(line["row"], {})[line["column"]] = Cell(line["value"], line["sd"], line["metric"])
    return rows


@functools.cache
def official_curve() -> Mapping[str, list[float]]:
    """Return {column: values} of the release's curve: `step`, losses, metrics; NaN where its plot is unreadable."""
    with open(FOLDER / "official_curve.csv", newline="") as file:
        lines = [*csv.DictReader(line for line in file if not line.startswith("#"))]
    return {name: [float(line[name] or "nan") for line in lines] for name in lines[0]}


def mean_of_eight(row: Mapping[str, Cell]) -> float:
    """Return the AVG of a printed row in points: the mean of its eight task columns."""
    return sum(row[task].number for task in COLUMNS) / len(COLUMNS)


def with_wnli(row: Mapping[str, Cell]) -> float:
    """Return GLUE* of a printed row in points: the mean of its eight columns and a constant for WNLI."""
    return (8 * mean_of_eight(row) + round(100 * WNLI_MAJORITY, 2)) / 9


def efficiency(name: str) -> tuple[float, dict[str, float]]:
    """Return pfs-days of a row of table 3 by the hardware rule, and {average: pfs-days divided by the average}.

    The averages are "AVG" and "GLUE*", as fractions, if they were printed. Raises KeyError for a row without a time.
    """
    days, num_devices, tflops = (table("3")[name][column].number for column in ("days", "num_devices", "tflops"))
    cost, scores = hardware_pfs_days(days, num_devices, tflops), table("2")[name]
    return cost, {name: 100 * cost / scores[name].number for name in ("AVG", "GLUE*") if name in scores}


def printed_days() -> tuple[float, float]:
    """Return GPU-days computed from table 1's costs of a run: the sum of all rows, and the days that are counted twice.

    The reproduction and the generator-size experiment share the 25 % run up to update 250,000 and its fine-tuning.
    """
    rows = {name: row for name, row in table("1").items() if name != "overall"}
    days = {name: row["run_cost"].number * row["num_seeds"].number for name, row in rows.items()}
    total = sum(days[name] * row["num_configs"].number for name, row in rows.items())
    return total, sum(days[name] for name in rows if name.startswith("generator size"))
