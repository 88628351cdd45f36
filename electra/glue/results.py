"""Records of fine-tuning runs: one JSON object a run in results.jsonl, and the table of their scores."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.cli import build, printable
from electra.config import FINETUNE_RECIPES, FinetuneConfig
from electra.files import FormatError, read_records
from electra.glue.files import Rows
from electra.glue.finetune import Start
from electra.glue.tasks import TASKS
from electra.scores.metrics import AVERAGES, SCORE_METRICS
from electra.scores.statistics import summarize

FILE_NAME = "results.jsonl"
FROM_MNLI = ("mrpc", "stsb", "rte")
"""The tasks that many papers start from an MNLI model."""

Record = dict[str, Any]
RECORD_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(("run_id", "task", "main_metric", "protocol_id", "checkpoint", "checkpoint_sha256"), str),
    **dict.fromkeys(("recipe", "precision"), str),
    **dict.fromkeys(("model", "init_from_mnli"), str | None),
    **dict.fromkeys(("seed", "checkpoint_step"), int),
    **dict.fromkeys(("train_seconds", "evaluate_seconds"), float),
    **dict.fromkeys(("failed", "from_scratch"), bool),
    **dict.fromkeys(("settings", "overrides", "provenance"), dict),
    **{"metrics": dict[str, float], "predictions": dict[str, str], "data": dict[str, dict]},  # type: ignore[type-arg]
}
"""The type of each field of a record that a table or a later run relies on."""


def digest(value: object) -> str:
    """Twelve hexadecimal digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def describe_protocol(
    start: Start, config: FinetuneConfig, *, precision: str, from_scratch: bool, mnli: Start | None
) -> dict[str, Any]:
    """Everything that affects a score, except task, data and seed: a row of a table is runs of one protocol.

    Args:
        precision: what `config.precision` means on this machine.
        mnli: the fine-tuned model that the tasks of `FROM_MNLI` start from, if they do.
    """
    names = [field.name for field in dataclasses.fields(config) if not field.metadata["free"]]
    settings = {name: getattr(config, name) for name in names}
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
    """The part of a run's record that is known before it runs; `run_id` names protocol, task, seed and data.

    The data of an official task is its files. Of your own files it is also which columns were read: the digest
    `rows_sha256` is of the texts and labels.
    """
    data: dict[str, dict[str, Any]] = {
        split: {"path": str(r.path), "sha256": r.sha256, "num_rows": len(r),
                "num_damaged": r.num_damaged, "num_empty": r.num_empty}
        for split, r in rows.items()
    }  # fmt: skip
    for split in () if task in TASKS else _scored_splits(data):
        data[split]["rows_sha256"] = digest([rows[split].first, rows[split].second, rows[split].gold.tolist()])
    run_id = digest([protocol["protocol_id"], task, seed, data_digests(data)])
    return {"run_id": run_id, "task": task, "seed": seed, **protocol, "data": data}


def _scored_splits(data: Mapping[str, Any]) -> list[str]:
    return [split for split in data if split == "train" or split.startswith("dev")]


def data_digests(data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One digest for each file that a run learned from or was scored on, of a record's "data"."""
    return [data[split].get("rows_sha256", data[split]["sha256"]) for split in _scored_splits(data)]


def by_data(records: Iterable[Record]) -> dict[tuple[str, ...], list[Record]]:
    """Records in groups of one task on one data set: only these are seeds of one score."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault((record["task"], *data_digests(record["data"])), []).append(record)
    return groups


def data_name(record: Record) -> str:
    """The files of a record with their digests, in words: `train.csv 1a2b3c4d, dev.csv 5e6f7a8b`."""
    data = record["data"]
    names = [Path(data[split]["path"]).name for split in _scored_splits(data)]
    return ", ".join(f"{name} {sha256[:8]}" for name, sha256 in zip(names, data_digests(data), strict=True))


def is_finished(folder: Path, identity: Record, *, with_model: bool = False) -> bool:
    """Whether a record of this run is there, with predictions of every split that is asked for.

    Args:
        with_model: its fine-tuned model must be there too.
    """
    asked = {split for split in identity["data"] if split != "train"}
    return any(
        record["run_id"] == identity["run_id"]
        and asked <= set(record["predictions"])
        and not (with_model and not (folder / (record.get("model") or "none")).is_dir())
        for record in read_results(folder)
    )


def result_line(record: Record) -> str:
    """What a finished run prints."""
    scores = ", ".join(f"{metric} {100 * value:.2f}" for metric, value in record["metrics"].items())
    line = f"{record['task']} seed {record['seed']}: {scores} ({record['train_seconds']:.0f} s)"
    if record["num_skipped"]:
        line += f"; WARNING: {record['num_skipped']} of {record['num_updates']} updates skipped, gradient not finite"
    return line + ("; WARNING: failed, the same answer for every input" if record["failed"] else "")


def read_results(folder: Path) -> list[Record]:
    """The records of a results folder, the last of each run; none if there is no file yet.

    Raises:
        FormatError: a line is damaged, or a record cannot be as `train_glue.py` wrote it; it is named.
    """
    path = folder / FILE_NAME
    records = read_records(path, **RECORD_FIELDS) if path.exists() else []
    for record in records:
        if problem := find_problem(record):
            raise FormatError(f"{path}: run {record['run_id']}: {problem}; restore or remove its line")
    return list({record["run_id"]: record for record in map(with_current_names, records)}.values())


def find_problem(record: Record) -> str:
    """What is wrong inside a record whose `RECORD_FIELDS` have their types; "" if nothing is."""
    scores, data, provenance = record["metrics"], record["data"], record["provenance"]
    for name, score in scores.items():
        low = -1 if name in ("matthews", *SCORE_METRICS) else 0
        if not low <= score <= 1:
            return f"expected {name} from {low} to 1, found {score}"
    if record["main_metric"] not in scores:
        return f"expected the score of its main metric {record['main_metric']}, found none"
    if not any(split.startswith("dev") for split in data):
        return "expected the digest of a dev file, found none"
    facts = [(part, name) for part in data.values() for name in ("path", "sha256")]
    facts += [(provenance, "device"), (provenance, "commit")]
    if missing := [name for part, name in facts if not isinstance(part.get(name), str)]:
        return f"expected text as {missing[0]!r}, found none"
    if not isinstance(record["settings"].get("pair_swap"), bool):
        return "expected true or false as the setting 'pair_swap', found neither"
    try:
        build(FinetuneConfig, {"recipe": record["recipe"]})
    except ValueError as error:
        return str(error)
    below_zero = [n for n in ("seed", "checkpoint_step", "train_seconds", "evaluate_seconds") if record[n] < 0]
    return f"expected {below_zero[0]} of 0 or more, found {record[below_zero[0]]}" if below_zero else ""


def with_current_names(record: Record) -> Record:
    """A record, its recipe under the name it has today."""
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
    """Spread of every metric, with and without failed runs, and of the averages, as JSON values.

    Runs of one task on different files are apart: "tasks" has an entry for each data set, and the averages leave
    such a task out, since it has no one score.
    """
    groups = by_data(records)
    num_sets = Counter(task for task, *_ in groups)
    tasks: dict[str, Any] = {}
    for (task, *_), runs in groups.items():
        data = data_name(runs[0]) if num_sets[task] > 1 else ""
        good = [run for run in runs if not run["failed"]]
        tasks[f"{task} on {data}" if data else task] = {
            "task": task,
            "data": data,
            "main_metric": runs[0]["main_metric"],
            "failed_seeds": [run["seed"] for run in runs if run["failed"]],
            "minutes_a_run": sum(run["train_seconds"] + run["evaluate_seconds"] for run in runs) / len(runs) / 60,
            "metrics": _spread(runs),
            "metrics_without_failed": _spread(good) if good else None,
        }
    averages = {}
    scores = scores_by_seed(record for record in records if num_sets[record["task"]] == 1)
    for name, average in AVERAGES.items():
        values = {seed: average.of(row) for seed, row in sorted(scores.items()) if not average.missing(row)}
        missing = min((average.missing(row) for row in scores.values() or [{}]), key=len)
        averages[name] = {
            "formula": average.formula,
            "missing": [f"{task} on one data set" if num_sets[task] > 1 else task for task in missing],
            "by_seed": values,
            **(summarize([*values.values()])._asdict() if values else {}),
        }
    return {"tasks": tasks, "averages": averages}


def _spread(runs: Sequence[Record]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for run in runs for name in run["metrics"])
    scores = {name: [run["metrics"][name] for run in runs if name in run["metrics"]] for name in names}
    return {name: summarize(values)._asdict() for name, values in scores.items()}


def _cells(spread: Mapping[str, Any]) -> str:
    mean, median, best = (f"{100 * spread[name]:7.2f}" for name in ("mean", "median", "max"))
    if spread["sd"] is None:
        return f"{spread['n']:3d} {mean}       - {median} {best}  -"
    interval = f"[{100 * spread['low']:.2f}, {100 * spread['high']:.2f}]"
    return f"{spread['n']:3d} {mean} {100 * spread['sd']:7.2f} {median} {best}  {interval}"


def results_table(summary: Mapping[str, Any]) -> str:
    """The closing table, in points: every metric of every task and data set, then the averages with their formulas."""
    lines = [f"{'':<28}  n    mean      sd  median     max  95 % of the mean (bootstrap over seeds); minutes a run"]
    for result in summary["tasks"].values():
        for metric, spread in result["metrics"].items():
            name, end = f"{result['task']} {metric}", f"  on {result['data']}" if result["data"] else ""
            if metric == result["main_metric"]:
                name, end = f"{name}*", f"  {result['minutes_a_run']:.1f} min{end}"
            lines.append(printable(f"{name:<28}{_cells(spread)}{end}"))
            without_failed = (result["metrics_without_failed"] or {}).get(metric)
            if result["failed_seeds"] and without_failed:
                lines.append(f"{'  without failed runs':<28}{_cells(without_failed)}")
    for name, average in summary["averages"].items():
        if average["by_seed"]:
            lines.append(f"{name:<28}{_cells(average)}")
            lines.append(f"  {name} = {average['formula']}")
        elif any(f"{result['task']}." in average["formula"] for result in summary["tasks"].values()):
            lines.append(f"{name:<28}not measured: no {', '.join(average['missing'])}")
    return "\n".join(lines)
