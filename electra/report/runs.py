"""Reads what runs left on disk for a report: run folders and results folders. What cannot be used is noted."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from electra.cli import build, printable
from electra.config import EncoderConfig, PretrainConfig
from electra.files import FormatError, read_json, read_lines
from electra.glue.results import (
    FILE_NAME,
    RECORD_FIELDS,
    Record,
    by_data,
    data_name,
    find_problem,
    summarize_results,
    with_current_names,
)
from electra.glue.tasks import TASKS
from electra.model.flops import release_update_flops, update_flops
from electra.pretrain.collapse import is_collapsed
from electra.pretrain.masking import count_targets
from electra.report.literature import official_curve
from electra.training.checkpoint import step_folder
from electra.training.log import HELD_OUT
from electra.training.state import MILESTONES

METRICS = "metrics.jsonl"
OTHERS = ("elapsed_seconds", "tokens_per_second", "peak_memory_bytes", "disc_auc_low", "disc_auc_high")
LOGGED = {**dict.fromkeys((*official_curve(), *OTHERS, "disc_base_rate_entropy"), float | None), "step": int}
"""The type of each field that a report reads of a line of metrics.jsonl; a number that was not logged is null."""
Config = TypeVar("Config")
Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class PretrainRun:
    """One pre-training run, from the small files of its folder; weights are not read."""

    folder: Path
    name: str  # what tables and legends call it: its folder, below what all runs of the report share
    config: PretrainConfig
    shape: EncoderConfig
    settings: Mapping[str, Any]  # config.json as it stands
    provenance: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]  # in order of step
    evaluations: Sequence[Mapping[str, Any]]  # held out, in order of step

    @property
    def last_step(self) -> int:
        """The last update that was logged."""
        return max(record["step"] for record in (*self.training, *self.evaluations))

    @property
    def is_full_length(self) -> bool:
        """Whether it follows table 5 in shape, batch, row length, horizon and objective."""
        names = ("batch_size", "seq_length", "num_train_steps", "objective")
        default = dataclasses.replace(EncoderConfig(), vocab_size=self.shape.vocab_size)
        return self.shape == default and all(
            getattr(self.config, name) == getattr(PretrainConfig(), name) for name in names
        )

    @property
    def layers(self) -> str:
        """The shape in words: runs of older versions have other shapes under today's names of sizes."""
        return f"{self.shape.num_layers} layers x {self.shape.hidden_size}"

    def flops(self, step: int) -> tuple[float, float]:
        """FLOPs of its updates up to a step: by the release's convention, and matrix products alone."""
        config, shape, objective = self.config, self.shape, self.config.objective
        size, length, rows = config.generator_size, config.seq_length, config.batch_size
        targets = count_targets(length, config.mask_prob)
        by_release = release_update_flops(shape, size, length, rows, objective)
        return step * by_release, step * update_flops(shape, size, length, targets, rows, objective)

    def elapsed_days(self, step: int | None = None) -> float | None:
        """Days on its own clock up to a step, or to its end; None if no record tells."""
        steps = [r for r in self.training if r.get("elapsed_seconds") and (step is None or r["step"] <= step)]
        return steps[-1]["elapsed_seconds"] / 86_400 if steps else None

    @property
    def device(self) -> str:
        """The name of the devices it ran on."""
        return str(self.provenance["device"])

    @property
    def num_devices(self) -> int:
        """How many devices worked in parallel; older versions ran on one and did not record it."""
        return int(self.provenance.get("num_devices") or 1)

    def median(self, name: str) -> float | None:
        """The median of a logged number over the run; None if it was never logged."""
        values = [record[name] for record in self.training if record.get(name) is not None]
        return float(np.median(values)) if values else None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory one device held; None if it was never logged."""
        return max((r["peak_memory_bytes"] for r in self.training if r.get("peak_memory_bytes")), default=None)

    def held_out(self) -> list[dict[str, Any]]:
        """The held-out records, with `total_loss`, the weighted sum that is trained on, where both parts are there."""
        found = []
        for record in self.evaluations:
            generator, discriminator = record.get("masked_lm_loss"), record.get("disc_loss")
            if generator is not None and discriminator is not None:
                total = self.config.gen_weight * generator + self.config.disc_weight * discriminator
                record = {**record, "total_loss": total}
            found.append({**record})
        return found

    @property
    def collapse_step(self) -> int | None:
        """The update at which the watch would first have declared a collapse."""
        for end in range(1, len(self.evaluations) + 1):
            if is_collapsed(self.evaluations[:end], self.config.num_warmup_steps):
                return int(self.evaluations[end - 1]["step"])
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Protocol:
    """One row of a table: runs of one checkpoint and settings, any tasks and seeds, each task on one data set."""

    records: Sequence[Record]
    run: PretrainRun | None = None  # the pre-training run of its checkpoint, where that is among the inputs
    data: str = ""  # the task and its files, where runs of this protocol on other files stand in rows of their own

    @property
    def facts(self) -> Record:
        """A record, for what all of them share."""
        return self.records[0]

    @property
    def step(self) -> int:
        """The update its checkpoint was taken at."""
        return int(self.facts["checkpoint_step"])

    @property
    def name(self) -> str:
        """The name of its row."""
        run = self.run.name if self.run else self.facts["checkpoint"]
        share = f" ({100 * self.step / self.run.config.num_train_steps:.4g} %)" if self.run else ""
        is_random = self.facts["from_scratch"]
        start = f"random start in the shape of {run}" if is_random else f"{run}, update {self.step:,}{share}"
        return printable(f"{start}; {self.protocol}")

    @property
    def protocol(self) -> str:
        """Recipe, what was changed of it, and the data where that is not the only one."""
        changes = [f"{name} {value}" for name, value in self.facts["overrides"].items()]
        changes += ["from an MNLI model"] if self.facts["init_from_mnli"] else []
        return "; ".join([f"recipe {self.facts['recipe']}", *changes, *([self.data] if self.data else [])])

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """Spread of every metric and average: see `summarize_results`."""
        return summarize_results(self.records)

    @property
    def days(self) -> float:
        """Days of training and evaluation on its runs' own clocks, added up."""
        return sum(r["train_seconds"] + r["evaluate_seconds"] for r in self.records) / 86_400

    def scores(self, task: str) -> dict[int, float]:
        """{seed: main metric of a task, as a fraction}."""
        metric = TASKS[task].main_metric
        return {r["seed"]: r["metrics"][metric] for r in self.records if r["task"] == task and metric in r["metrics"]}

    def files(self, task: str) -> set[tuple[str, ...]]:
        """The digests of the train and dev files of a task's runs; one set of them, or none."""
        return {*by_data(record for record in self.records if record["task"] == task)}


class Inputs(NamedTuple):
    """All that a report is drawn from."""

    runs: list[PretrainRun]
    protocols: list[Protocol]
    notes: list[str]  # what was left out or assumed, one sentence each


def find_folders(path: Path) -> Iterator[Path]:
    """Every run folder and results folder at or under a path, in order of name; checkpoints are not looked into."""
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(("step-", ".")) and name != MILESTONES)
        if {METRICS, FILE_NAME, "provenance.json"} & {*files}:
            yield Path(folder)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read all runs and results at or under some paths.

    Raises:
        FileNotFoundError: a path is not there, or holds no run and no result.
        FormatError: none of what there is can be used.
    """
    notes: dict[str, None] = {}

    def note(text: str) -> None:
        notes[printable(text)] = None

    runs: dict[Path, PretrainRun] = {}
    results: dict[str, Record] = {}
    for path in paths:
        folders = [*find_folders(path)]
        if not folders:
            raise FileNotFoundError(
                f"{path}: expected {METRICS} of a run or {FILE_NAME} of fine-tuning in it or below, found neither; "
                "name a folder that train_pretrain.py or train_glue.py wrote"
            )
        for folder in folders:
            if (folder / FILE_NAME).exists():
                results |= {record["run_id"]: record for record in _read_results(folder / FILE_NAME, note)}
            if {METRICS, "provenance.json"} & {*os.listdir(folder)}:
                try:
                    runs[folder.resolve()] = _read_run(folder, note)
                except (ValueError, OSError) as error:
                    note(f"{folder}: run left out, {error}")
    if not runs and not results:
        reason = next(iter(notes), "the files are empty")
        raise FormatError(f"expected a run or a result to report, found none that can be used: {reason}")
    shared = os.path.commonpath([folder.parent for folder in runs]) if runs else ""
    names = [printable(folder.relative_to(shared).as_posix()) for folder in runs]
    found = [dataclasses.replace(run, name=name) for name, run in zip(names, runs.values(), strict=True)]
    return Inputs(found, _rows(results.values(), found, note), [*notes])


def _rows(results: Iterable[Record], runs: Sequence[PretrainRun], note: Note) -> list[Protocol]:
    """Records as rows of tables: those of a protocol, but a task with several data sets in a row for each of these."""
    protocols: dict[str, list[Record]] = {}
    for record in results:
        protocols.setdefault(record["protocol_id"], []).append(record)
    rows = []
    for records in protocols.values():
        run, groups = _run_of(records[0], runs, note), by_data(records)
        num_sets = Counter(task for task, *_ in groups)
        if shared := [record for record in records if num_sets[record["task"]] == 1]:
            rows.append(Protocol(shared, run))
        for (task, *_), group in groups.items():
            if num_sets[task] > 1:
                rows.append(Protocol(group, run, f"{task} on {data_name(group[0])}"))
                note(f"{task} with {rows[-1].protocol}: one of {num_sets[task]} data sets, in a row of its own")
    return rows


def _read_lines(path: Path, fields: Mapping[str, Any], note: Note) -> list[Record]:
    """The records of a JSONL file that have the fields a report reads; how many do not, and why, is noted."""
    records, damaged = read_lines(path, **fields)
    if damaged:
        reasons = [f"line {d.number} " + ("cut short by a kill" if d.is_cut_short else d.problem) for d in damaged]
        more = f" and {len(damaged) - 5:,} more" if len(damaged) > 5 else ""
        num_lines = f"{len(damaged):,} of {len(damaged) + len(records):,} lines"
        note(f"{path}: {num_lines} left out: {'; '.join(reasons[:5])}{more}")
    return records


def _read_results(path: Path, note: Note) -> list[Record]:
    """The records of a results file that can be as `train_glue.py` wrote them; the others are noted."""
    try:
        records = _read_lines(path, RECORD_FIELDS, note)
    except OSError as error:
        note(f"{path}: left out, {error}")
        return []
    kept = []
    for record in records:
        if problem := find_problem(record):
            note(f"{path}: run {record['run_id']} of {record['task']} left out, {problem}")
        else:
            kept.append(with_current_names(record))
    return kept


def _read_run(folder: Path, note: Note) -> PretrainRun:
    """The run of a folder.

    Raises:
        ValueError, OSError: it has no run that a report can show; the message says why.
    """
    for name in (METRICS, "config.json", "provenance.json"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"expected {name} in this run folder, found none")
    settings = read_json(folder / "config.json", pretrain=dict, encoder=dict, tokenizer=str, shards=str)
    provenance = read_json(folder / "provenance.json", device=str, commit=str, num_devices=int | None)
    if provenance.get("num_devices") is not None and provenance["num_devices"] < 1:
        raise FormatError(f"expected num_devices of 1 or more in provenance.json, found {provenance['num_devices']}")
    config = _config(PretrainConfig, settings["pretrain"], folder, note)
    shape = _config(EncoderConfig, settings["encoder"], folder, note)
    shape.generator(config.generator_size)  # refuses a width that its heads do not divide
    records = sorted(_read_lines(folder / METRICS, LOGGED, note), key=lambda record: record["step"])
    if not records:
        raise FormatError(f"nothing is logged in {METRICS} yet")
    if config.init_from:
        note(f"{folder}: started from the weights of {config.init_from}; what those cost is not in this run's counts")
    return PretrainRun(
        folder=folder,
        name=folder.name,
        config=config,
        shape=shape,
        settings=settings,
        provenance=provenance,
        training=[record for record in records if record.get("split") != HELD_OUT],
        evaluations=[record for record in records if record.get("split") == HELD_OUT],
    )


def _config(config_class: type[Config], saved: Mapping[str, Any], folder: Path, note: Note) -> Config:
    """The settings of a record, which may be of another version of this package; what differs is noted."""
    is_free = {field.name: field.metadata["free"] for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    try:
        config = build(config_class, values)
    except TypeError:  # of looking up the former name of a list or an object
        raise FormatError(f"expected words and numbers as {config_class.__name__}, found a list or an object") from None
    if missing := sorted(name for name, free in is_free.items() if name not in saved and not free):
        note(f"{folder}: {', '.join(missing)} not recorded when this run was made, shown at today's default")
    if unknown := sorted({*saved} - {*is_free}):
        note(f"{folder}: recorded settings this version does not know: {', '.join(unknown)}")
    return config


def _run_of(record: Record, runs: Sequence[PretrainRun], note: Note) -> PretrainRun | None:
    """The run whose checkpoint a record says it started from, by the run folder's name at the time."""
    checkpoint, step = Path(record["checkpoint"]), record["checkpoint_step"]
    places = {checkpoint, *checkpoint.parents} - {Path(".")}
    found = [run for run in runs if Path(run.config.run_dir) in places or run.folder in places]
    if len(found) > 1:
        names = ", ".join(run.name for run in found)
        note(f"{checkpoint}: results set beside no run, since several have this run_dir: {names}; report one at a time")
        return None
    for run in found:
        for folder in (step_folder(run.folder, step), step_folder(run.folder / MILESTONES, step)):
            manifest = folder / "manifest.json"
            if manifest.exists() and not _has_weights(manifest, record["checkpoint_sha256"]):
                note(f"{checkpoint}: results of other weights than {folder} holds now, so not set beside that run")
                return None
        return run
    return None


def _has_weights(manifest: Path, sha256: str) -> bool:
    try:
        return bool(read_json(manifest, sha256=dict[str, str])["sha256"].get("model.pt") == sha256)
    except (FormatError, OSError):  # damaged, so nothing says that these are the weights
        return False
