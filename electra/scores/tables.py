"""Numbers as text: Markdown tables, scores with their spread, differences with their interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from electra.cli import printable
from electra.scores.statistics import Interval

NOT_MEASURED = "not measured"
DIFFERS = "≠"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; pipes and control characters in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def printed_and_ours(header: Sequence[str], printed: Sequence[Sequence[str]], ours: Sequence[Sequence[str]]) -> str:
    """Return two Markdown tables: the rows printed in a paper, and our rows, where empty columns are left out."""
    rows = ours or [[f"ours: {NOT_MEASURED}", *[NOT_MEASURED] * (len(header) - 1)]]
    kept = [column for column, cells in enumerate(zip(*rows, strict=True)) if {*cells} != {NOT_MEASURED}]
    own = markdown([header[column] for column in kept], [[row[column] for column in kept] for row in rows])
    return f"{markdown(header, printed)}\n\n{own}"


def bullets(lines: Sequence[str]) -> str:
    """Return lines as a Markdown list."""
    return "\n".join(f"- {printable(line)}" for line in lines)


def spread(summary: Mapping[str, Any] | None) -> str:
    """Return mean ± sample standard deviation (number of runs), in points of 100: `53.50 ± 2.47 (5)`."""
    if not summary or not summary.get("n"):
        return NOT_MEASURED
    deviation = "" if summary["sd"] is None else f" ± {100 * summary['sd']:.2f}"
    return f"{100 * summary['mean']:.2f}{deviation} ({summary['n']})"


def interval(found: Interval | None) -> str:
    """Return a difference in points with its 95 % interval and number of pairs: `+0.31 [-0.20, +0.82] (5)`."""
    if found is None:
        return NOT_MEASURED
    if found.low is None or found.high is None:
        return f"{100 * found.mean:+.2f}, no interval ({found.n})"
    return f"{100 * found.mean:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}] ({found.n})"


def differs(printed: str, value: float) -> bool:
    """Whether a recomputed value, rounded to the decimals of the printed value, differs from the printed value."""
    decimals = len(printed.partition(".")[2])
    return abs(value - float(printed)) > 0.5 * 10**-decimals + 1e-9


def beside(value: float, printed: str, form: str = ".2f") -> str:
    """Return a recomputed value, then the printed value in brackets, marked with `DIFFERS` if the two differ."""
    if not printed:
        return f"{value:{form}}"
    return f"{value:{form}} (printed {printed}{' ' + DIFFERS if differs(printed, value) else ''})"
