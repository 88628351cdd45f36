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
from electra.files import FormatError, naming, read_records
from electra.glue.files import Rows
from electra.glue.finetune import Start
from electra.glue.tasks import TASKS, Task
from electra.scores.metrics import AVERAGES, WNLI_MAJORITY
from electra.scores.statistics import summarize
from electra.training.checkpoint import MANIFEST_FILE

FILE_NAME = "results.jsonl"
FROM_MNLI = ("mrpc", "stsb", "rte")
"""The tasks that many papers fine-tune from a model that was fine-tuned on MNLI first."""

Record = dict[str, Any]
RECORD_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys("run_id task main_metric protocol_id checkpoint checkpoint_sha256 recipe precision".split(), str),
    **dict.fromkeys(("model", "init_from_mnli"), str | None),
    **dict.fromkeys(("seed", "checkpoint_step"), int),
    **dict.fromkeys(("train_seconds", "evaluate_seconds"), float),
    **dict.fromkeys(("failed", "from_scratch"), bool),
    **dict.fromkeys(("settings", "overrides", "provenance"), dict),
    **{"metrics": dict[str, float], "predictions": dict[str, str], "data": dict[str, dict]},  # type: ignore[type-arg]
}
"""The types of the record fields that a table or a later run reads."""


def digest(value: object) -> str:
    """Return the first twelve hexadecimal digits of a JSON value's SHA-256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def describe_protocol(
    start: Start, config: FinetuneConfig, precision: str, mnli: Start | None, *, from_scratch: bool
) -> dict[str, Any]:
    """Return a protocol: everything that affects a score, except task, data and seed.

    `precision` is fp32, bf16 or fp16; `mnli` is the model that the tasks of `FROM_MNLI` start from, or None.
    """
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if not f.metadata["free"]}
    preset = build(FinetuneConfig, {"recipe": config.recipe, **FINETUNE_RECIPES[config.recipe]})
    decisive = [
        "random" if from_scratch else start.sha256,
        dataclasses.asdict(start.shape),
        start.tokenizer.fingerprint,
        {**settings, "precision": precision},
        mnli.sha256 if mnli else "",
    ]
    return {
        "protocol_id": digest(decisive),
        "checkpoint": str(start.folder),
        "checkpoint_step": start.step,
        "checkpoint_sha256": start.sha256,
        "from_scratch": from_scratch,
        "init_from_mnli": str(mnli.folder) if mnli else None,
        "recipe": config.recipe,
        "overrides": {name: value for name, value in settings.items() if value != getattr(preset, name)},
        "settings": settings,
        "precision": precision,
    }


def describe(protocol: Mapping[str, Any]) -> str:
    """Return a protocol in one line of text, the title of its table."""
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


def identify(protocol: Mapping[str, Any], task: Task, seed: int, rows: Mapping[str, Rows]) -> Record:
    """Return the part of a record that is known before the run; `run_id` is a digest of protocol, task, seed, data.

    The data of an official task are identified by the digests of its files. A file of a person's own may be read in
    several ways, so `rows_sha256` is the digest of texts and labels, names of classes and columns, and main metric.
    """
    how = [task.labels, task.text_columns, task.main_metric]
    data: dict[str, dict[str, Any]] = {}
    for split, r in rows.items():
        facts = {"path": str(r.path), "sha256": r.sha256, "num_rows": len(r), "num_damaged": r.num_damaged}
        is_own = task.name not in TASKS
        data[split] = facts | ({"rows_sha256": digest([r.first, r.second, r.labels.tolist(), how])} if is_own else {})
    run_id = digest([protocol["protocol_id"], task.name, seed, [sha256 for _, sha256 in scored_files(data)]])
    return {"run_id": run_id, "task": task.name, "seed": seed, **protocol, "data": data}


def scored_files(data: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return, from a record's `data`, name and digest of each file that its run learned from or was scored on."""
    parts = [part for split, part in data.items() if split == "train" or split.startswith("dev")]
    return [(Path(part["path"]).name, part.get("rows_sha256", part["sha256"])) for part in parts]


def by_data(records: Iterable[Record]) -> dict[tuple[str, ...], list[Record]]:
    """Return records in groups of one task and one data set: scores are averaged over seeds only inside a group."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        digests = [sha256 for _, sha256 in scored_files(record["data"])]
        groups.setdefault((record["task"], *digests), []).append(record)
    return groups


def data_name(record: Record) -> str:
    """Return the names of a record's files with parts of their digests: `train.csv 1a2b3c4d, dev.csv 5e6f7a8b`."""
    return ", ".join(f"{name} {sha256[:8]}" for name, sha256 in scored_files(record["data"]))


def is_finished(folder: Path, identity: Record, *, with_model: bool = False) -> bool:
    """Whether the run `identity` has a record, files of predictions and, if `with_model`, a saved model."""
    for record in read_results(folder):
        if record["run_id"] == identity["run_id"]:
            files = [record["predictions"].get(split, "") for split in identity["data"] if split != "train"]
            files += [f"{record.get('model')}/{MANIFEST_FILE}"] * with_model
            return all((folder / file).is_file() for file in files)
    return False


def result_line(record: Record) -> str:
    """Return what a finished run prints: its scores, and a warning of a failure or of skipped updates."""
    scores = ", ".join(f"{metric} {100 * value:.2f}" for metric, value in record["metrics"].items())
    line = f"{record['task']} seed {record['seed']}: {scores} ({record['train_seconds']:.0f} s)"
    if record["num_skipped"]:
        line += f"; WARNING: {record['num_skipped']} of {record['num_updates']} updates skipped, gradient not finite"
    return line + ("; WARNING: failed, the same answer for every input" if record["failed"] else "")


def read_results(folder: Path) -> list[Record]:
    """Return the last record of each run in a results folder; no records if there is no file yet.

    Raises FormatError for a damaged line, or for a record that `train_glue.py` cannot have written.
    """
    path = folder / FILE_NAME
    records = read_records(path, **RECORD_FIELDS) if path.exists() else []
    try:
        return list({record["run_id"]: record for record in map(checked, records)}.values())
    except ValueError as error:
        raise FormatError(f"{path}: {error}; restore or remove this run's line") from None


def checked(record: Record) -> Record:
    """Return a record with a former recipe name replaced; ValueError if a field that a table reads is missing."""
    data, provenance = record["data"], record["provenance"]
    texts = [part.get(name) for part in data.values() for name in ("path", "sha256")]
    texts += [provenance.get("device"), provenance.get("commit")]
    expected = {
        "the score of its main metric": record["main_metric"] in record["metrics"],
        "a dev file": any(split.startswith("dev") for split in data),
        "path and sha256 of each file, device and commit as text": all(isinstance(text, str) for text in texts),
        "true or false as the setting pair_swap": isinstance(record["settings"].get("pair_swap"), bool),
    }
    if wrong := [what for what, is_so in expected.items() if not is_so]:
        raise ValueError(f"run {record['run_id']}: expected {wrong[0]}")
    recipe = build(FinetuneConfig, {"recipe": record["recipe"]}).recipe
    return {**record, "recipe": recipe, "settings": {**record["settings"], "recipe": recipe}}


def append_result(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one record and sync it to disk; an incomplete last line, left by a killed process, is removed first.

    Processes that share a folder wait for one another here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with naming(folder / FILE_NAME), open(folder / FILE_NAME, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def summarize_results(records: Sequence[Record]) -> dict[str, Any]:
    """Return the spread over seeds of every metric and every average; failed runs count and are listed.

    Runs of one task on different data sets are not mixed: "tasks" has an entry for each data set. The averages leave
    out a task with several data sets, because the task has several scores.
    """
    groups = by_data(records)
    num_sets = Counter(task for task, *_ in groups)
    tasks: dict[str, Any] = {}
    for (task, *_), runs in groups.items():
        data = data_name(runs[0]) if num_sets[task] > 1 else ""
        names = max((run["metrics"] for run in runs), key=len)
        scores_of = {name: [run["metrics"][name] for run in runs if name in run["metrics"]] for name in names}
        tasks[f"{task} on {data}" if data else task] = {
            "task": task,
            "data": data,
            "main_metric": runs[0]["main_metric"],
            "failed_seeds": [run["seed"] for run in runs if run["failed"]],
            "minutes_a_run": sum(run["train_seconds"] + run["evaluate_seconds"] for run in runs) / len(runs) / 60,
            "metrics": {name: summarize(values)._asdict() for name, values in scores_of.items()},
        }
    scores: dict[int, dict[str, float]] = {}  # seed k of one task is paired with seed k of the others
    for record in (record for record in records if num_sets[record["task"]] == 1):
        row = scores.setdefault(record["seed"], {"wnli.majority": WNLI_MAJORITY})
        row |= {f"{record['task']}.{metric}": value for metric, value in record["metrics"].items()}
    averages = {}
    for name, average in AVERAGES.items():
        values = {seed: average.of(row) for seed, row in sorted(scores.items()) if not average.missing(row)}
        averages[name] = {
            "formula": average.formula,
            "missing": min((average.missing(row) for row in scores.values() or [{}]), key=len),
            "by_seed": values,
            **(summarize([*values.values()])._asdict() if values else {}),
        }
    return {"tasks": tasks, "averages": averages}


def _cells(spread: Mapping[str, Any]) -> str:
    mean, median, best = (f"{100 * spread[name]:7.2f}" for name in ("mean", "median", "max"))
    if spread["sd"] is None:
        return f"{spread['n']:3d} {mean}       - {median} {best}  -"
    interval = f"[{100 * spread['low']:.2f}, {100 * spread['high']:.2f}]"
    return f"{spread['n']:3d} {mean} {100 * spread['sd']:7.2f} {median} {best}  {interval}"


def results_table(summary: Mapping[str, Any]) -> str:
    """Return the final table, in points (100 x score): metrics of each task and data set, averages with formulas."""
    lines = [f"{'':<28}  n    mean      sd  median     max  95 % of the mean (bootstrap over seeds); minutes a run"]
    for result in summary["tasks"].values():
        for metric, spread in result["metrics"].items():
            name, end = f"{result['task']} {metric}", f"  on {result['data']}" if result["data"] else ""
            if metric == result["main_metric"]:
                failed = f", {len(result['failed_seeds'])} failed" if result["failed_seeds"] else ""
                name, end = f"{name}*", f"  {result['minutes_a_run']:.1f} min{failed}{end}"
            lines.append(printable(f"{name:<28}{_cells(spread)}{end}"))
    for name, average in summary["averages"].items():
        if average["by_seed"]:
            lines += [f"{name:<28}{_cells(average)}", f"  {name} = {average['formula']}"]
        elif any(f"{result['task']}." in average["formula"] for result in summary["tasks"].values()):
            lines.append(f"{name:<28}not measured: no {', '.join(average['missing'])}")
    return "\n".join(lines)
