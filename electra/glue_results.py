"""Records of fine-tuning runs: one JSON object a run in results.jsonl, and the table they add up to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.metrics import AVERAGES, Summary, summarize
from electra.runlog import read_metrics

FILE_NAME = "results.jsonl"
Record = dict[str, Any]


def digest(value: object) -> str:
    """Twelve hexadecimal digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def read_results(folder: Path) -> list[Record]:
    """The records of a results folder, the last of each run; none if there is no file yet."""
    path = folder / FILE_NAME
    return list({record["run_id"]: record for record in read_metrics(path)}.values()) if path.exists() else []


def append_result(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one record, on disk before this returns; what a killed process left of a line is dropped first."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / FILE_NAME, "ab+") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def scores_by_seed(records: Iterable[Record]) -> dict[int, dict[str, float]]:
    """{seed: {"task.metric": fraction}}: seed k of one task is paired with seed k of the others."""
    scores: dict[int, dict[str, float]] = {}
    for record in records:
        named = {f"{record['task']}.{metric}": value for metric, value in record["metrics"].items()}
        scores.setdefault(record["seed"], {}).update(named)
    return scores


def summarize_results(records: Sequence[Record]) -> dict[str, Any]:
    """Spread of every metric of every task, with and without failed runs, and of the averages, as JSON values."""
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(record["task"] for record in records):
        runs = [record for record in records if record["task"] == task]
        good = [run for run in runs if not run["failed"]]
        tasks[task] = {
            "main_metric": runs[0]["main_metric"],
            "failed_seeds": [run["seed"] for run in runs if run["failed"]],
            "metrics": _spread(runs),
            "metrics_without_failed": _spread(good) if good else None,
        }
    averages = {}
    scores = scores_by_seed(records)
    for name, average in AVERAGES.items():
        values = {seed: average.of(row) for seed, row in sorted(scores.items()) if not average.missing(row)}
        averages[name] = {
            "formula": average.formula,
            "missing": min((average.missing(row) for row in scores.values()), key=len, default=[]),
            "by_seed": values,
            **(summarize([*values.values()])._asdict() if values else {}),
        }
    return {"tasks": tasks, "averages": averages}


def _spread(runs: Sequence[Record]) -> dict[str, dict[str, Any]]:
    return {metric: summarize([run["metrics"][metric] for run in runs])._asdict() for metric in runs[0]["metrics"]}


def _cells(spread: Mapping[str, Any]) -> str:
    summary = Summary(**{name: spread[name] for name in Summary._fields})
    percent = [f"{100 * value:7.2f}" for value in (summary.mean, summary.median, summary.max)]
    if summary.sd is None or summary.low is None or summary.high is None:
        return f"{summary.n:3d} {percent[0]}       - {percent[1]} {percent[2]}  -"
    interval = f"[{100 * summary.low:.2f}, {100 * summary.high:.2f}]"
    return f"{summary.n:3d} {percent[0]} {100 * summary.sd:7.2f} {percent[1]} {percent[2]}  {interval}"


def results_table(summary: Mapping[str, Any]) -> str:
    """The closing table, in points: every metric of every task, then the averages with their formulas."""
    lines = [f"{'':<28}  n    mean      sd  median     max  95 % of the mean (bootstrap over seeds)"]
    for task, result in summary["tasks"].items():
        for metric, spread in result["metrics"].items():
            mark = "*" if metric == result["main_metric"] else " "
            lines.append(f"{task + ' ' + metric + mark:<28}{_cells(spread)}")
            if result["failed_seeds"] and result["metrics_without_failed"]:
                lines.append(f"{'  without failed runs':<28}{_cells(result['metrics_without_failed'][metric])}")
    for name, average in summary["averages"].items():
        if average["by_seed"]:
            lines.append(f"{name:<28}{_cells(average)}")
            lines.append(f"  {name} = {average['formula']}")
        else:
            lines.append(f"{name:<28}not measured: no {', '.join(average['missing'])}")
    return "\n".join(lines)
