"""Records of fine-tuning runs: one JSON object a run in results.jsonl, and the table they add up to."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.cli import build
from electra.config import FINETUNE_RECIPES, FinetuneConfig
from electra.files import read_records
from electra.glue.files import Rows
from electra.glue.finetune import Start
from electra.scores.metrics import AVERAGES
from electra.scores.statistics import Summary, summarize

FILE_NAME = "results.jsonl"
FROM_MNLI = ("mrpc", "stsb", "rte")
"""The tasks that many papers start from an MNLI model."""

Record = dict[str, Any]


def digest(value: object) -> str:
    """Twelve hexadecimal digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def describe_protocol(
    start: Start, config: FinetuneConfig, *, precision: str, from_scratch: bool, mnli: Start | None
) -> dict[str, Any]:
    """All that decides the numbers but task and seed: runs of one protocol stand in one table.

    Args:
        precision: what `config.precision` means on this machine.
        mnli: the fine-tuned model that the tasks of `FROM_MNLI` start from, if they do.
    """
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)
                if not field.metadata["free"]}  # fmt: skip
    preset = {"recipe": config.recipe, **FINETUNE_RECIPES[config.recipe]}
    defaults = dataclasses.asdict(build(FinetuneConfig, preset))
    start_weights = "random" if from_scratch else start.sha256
    shape = dataclasses.asdict(start.shape)
    numeric = {**settings, "precision": precision}
    decisive = [start_weights, shape, start.tokenizer.fingerprint, numeric, mnli.sha256 if mnli else ""]
    return {
        "protocol_id": digest(decisive),
        "checkpoint": str(start.folder),
        "checkpoint_step": start.step,
        "checkpoint_sha256": start.sha256,
        "from_scratch": from_scratch,
        "init_from_mnli": str(mnli.folder) if mnli else None,
        "recipe": config.recipe,
        "overrides": {name: value for name, value in settings.items() if value != defaults[name]},
        "settings": settings,
        "precision": precision,
    }


def describe(protocol: Mapping[str, Any]) -> str:
    """What must stand beside every number of a protocol, in one line."""
    start = f"{protocol['checkpoint']} (update {protocol['checkpoint_step']:,}, {protocol['checkpoint_sha256'][:12]})"
    overrides = ", ".join(f"{name} {value}" for name, value in protocol["overrides"].items())
    return "; ".join([
        f"random weights in the shape of {start}" if protocol["from_scratch"] else f"from {start}",
        f"{', '.join(FROM_MNLI)} from MNLI model {protocol['init_from_mnli']}" if protocol["init_from_mnli"] else
        "no task from another task's model",
        f"recipe {protocol['recipe']}" + (f" but {overrides}" if overrides else ""),
        f"pair swap {'on' if protocol['settings']['pair_swap'] else 'off'}",
        protocol["precision"],
        "dev files, model of the last update, every seed counted",
    ])  # fmt: skip


def identify(protocol: Mapping[str, Any], task: str, seed: int, rows: Mapping[str, Rows]) -> Record:
    """The part of a run's record that is known before it runs; `run_id` names protocol, task, seed and data."""
    data = {
        split: {"path": str(r.path), "sha256": r.sha256, "num_rows": len(r),
                "num_damaged": r.num_damaged, "num_empty": r.num_empty}
        for split, r in rows.items()
    }  # fmt: skip
    learned_from = [data[split]["sha256"] for split in data if split == "train" or split.startswith("dev")]
    run_id = digest([protocol["protocol_id"], task, seed, learned_from])
    return {"run_id": run_id, "task": task, "seed": seed, **protocol, "data": data}


def is_finished(folder: Path, identity: Record, *, with_model: bool = False) -> bool:
    """Whether a record of this run is there, with predictions of every split that is asked for.

    Args:
        with_model: its fine-tuned model must be there too.
    """
    asked = {split for split in identity["data"] if split != "train"}
    return any(
        record["run_id"] == identity["run_id"]
        and asked <= set(record["predictions"])
        and not (with_model and not (folder / (record["model"] or "none")).is_dir())
        for record in read_results(folder)
    )


def result_line(record: Record) -> str:
    """What a finished run prints."""
    scores = ", ".join(f"{metric} {100 * value:.2f}" for metric, value in record["metrics"].items())
    line = f"{record['task']} seed {record['seed']}: {scores} ({record['train_seconds']:.0f} s)"
    if record["num_skipped"]:
        line += f"; WARNING: {record['num_skipped']} of {record['num_updates']} updates skipped, gradient not finite"
    return line + ("; WARNING: failed, it answers the same whatever it reads" if record["failed"] else "")


def read_results(folder: Path) -> list[Record]:
    """The records of a results folder, the last of each run; none if there is no file yet."""
    path = folder / FILE_NAME
    records = read_records(path) if path.exists() else []
    return list({record["run_id"]: record for record in map(with_current_names, records)}.values())


def with_current_names(record: Record) -> Record:
    """A record, its recipe under the name it has today."""
    if "settings" not in record:
        return record
    recipe = build(FinetuneConfig, {"recipe": record["recipe"]}).recipe
    return {**record, "recipe": recipe, "settings": {**record["settings"], "recipe": recipe}}


def append_result(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one record, on disk before this returns; what a killed process left of a line is dropped first.

    Processes that share a folder wait for one another here; a run that two of them made counts once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / FILE_NAME, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
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
            "minutes_a_run": sum(run["train_seconds"] + run["evaluate_seconds"] for run in runs) / len(runs) / 60,
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
    lines = [f"{'':<28}  n    mean      sd  median     max  95 % of the mean (bootstrap over seeds); minutes a run"]
    for task, result in summary["tasks"].items():
        for metric, spread in result["metrics"].items():
            mark = "*" if metric == result["main_metric"] else " "
            minutes = f"  {result['minutes_a_run']:.1f} min" if metric == result["main_metric"] else ""
            lines.append(f"{task + ' ' + metric + mark:<28}{_cells(spread)}{minutes}")
            if result["failed_seeds"] and result["metrics_without_failed"]:
                lines.append(f"{'  without failed runs':<28}{_cells(result['metrics_without_failed'][metric])}")
    for name, average in summary["averages"].items():
        if average["by_seed"]:
            lines.append(f"{name:<28}{_cells(average)}")
            lines.append(f"  {name} = {average['formula']}")
        elif any(f"{task}." in average["formula"] for task in summary["tasks"]):
            lines.append(f"{name:<28}not measured: no {', '.join(average['missing'])}")
    return "\n".join(lines)
