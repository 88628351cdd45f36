"""Numbers that others printed, each with its metric and source, and what their arithmetic should have given.

`literature.csv` holds Mercier's tables 1 to 6 cell by cell; `official_curve.csv` the release's training curve.
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
"""The tasks of tables 2 and 4 in their order."""
SINGLE_METRICS = {term[0].split(".")[0]: term[0].split(".")[1] for term in AVERAGES["AVG"].terms}
"""The metric of each column of tables 2 and 4: those of AVG."""
OFFICIAL, MERCIER = "ELECTRA-Small OWT, original", "Mercier, 100 % trained"


class Cell(NamedTuple):
    """One printed number, or word."""

    value: str
    sd: str  # sample spread as printed, or ""
    metric: str  # what kind of number it is
    source: str

    @property
    def number(self) -> float:
        """The value as a number, scores in points."""
        return float(self.value)


@functools.cache
def table(name: str) -> Mapping[str, Mapping[str, Cell]]:
    """The rows of one printed table: {row: {column: cell}}; what was not printed is not there.

    Args:
        name: "1" to "6", or "3.5" for the numbers in that section's text.
    """
    rows: dict[str, dict[str, Cell]] = {}
    with open(FOLDER / "literature.csv", newline="") as file:
        for line in csv.DictReader(file):
            if line["table"] == name:
                cell = Cell(line["value"], line["sd"], line["metric"], line["source"])
                rows.setdefault(line["row"], {})[line["column"]] = cell
    return rows


@functools.cache
def official_curve() -> Mapping[str, list[float]]:
    """The release's curve as columns: `step`, the losses and the metrics; NaN where its figure cannot be read."""
    with open(FOLDER / "official_curve.csv", newline="") as file:
        lines = [*csv.DictReader(line for line in file if not line.startswith("#"))]
    return {name: [float(line[name] or "nan") for line in lines] for name in lines[0]}


def mean_of_eight(row: Mapping[str, Cell]) -> float:
    """AVG recomputed from the printed columns, in points."""
    return sum(row[task].number for task in COLUMNS) / len(COLUMNS)


def with_wnli(row: Mapping[str, Cell]) -> float:
    """GLUE* from one printed metric a task and the constant for WNLI, in points."""
    return (8 * mean_of_eight(row) + round(100 * WNLI_MAJORITY, 2)) / 9


def has_single_metrics(row: Mapping[str, Cell]) -> bool:
    """Whether AVG can be taken of a row: none of its columns averages two metrics."""
    return not any(row[task].metric.startswith("mean of") for task in COLUMNS)


class Efficiency(NamedTuple):
    """One row of table 3, recomputed from its own columns."""

    pfs_days: float  # petaflop/s-days by the hardware rule
    per: Mapping[str, float]  # {"AVG" or "GLUE*": pfs-days over that average as a fraction}, where it was printed


def efficiency(name: str) -> Efficiency:
    """Table 3 by the hardware rule; KeyError for a row without a time and a device."""
    days, num_devices, tflops = (table("3")[name][column].number for column in ("days", "num_devices", "tflops"))
    cost, scores = hardware_pfs_days(days, num_devices, tflops), table("2")[name]
    return Efficiency(cost, {name: 100 * cost / scores[name].number for name in ("AVG", "GLUE*") if name in scores})


class PrintedCost(NamedTuple):
    """Mercier's table 1, added up: GPU-days, and dollars at the printed rate."""

    sum_of_rows: float
    overlap: float  # the 25 % generator up to 250,000 updates stands in both experiments
    total: float
    usd: float


def printed_cost() -> PrintedCost:
    """Table 1 from its own unit costs: configurations times seeds times cost, the overlap counted once."""
    rows = {name: row for name, row in table("1").items() if name != "overall"}
    cost = {name: row["run_cost"].number * row["num_seeds"].number for name, row in rows.items()}
    sum_of_rows = sum(cost[name] * row["num_configs"].number for name, row in rows.items())
    overlap = sum(cost[name] for name in rows if name.startswith("generator size"))
    total = sum_of_rows - overlap
    return PrintedCost(sum_of_rows, overlap, total, usd(total, table("1")["overall"]["usd_per_hour"].number))


def usd(days: float, usd_per_hour: float) -> float:
    """Dollars of so many device-days."""
    return days * 24 * usd_per_hour
